"""`python -m benchmarks`: that it measures all it says, and says what it leaves out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.outside import program
from support.waiting import PATIENCE

from benchmarks import instructions
from benchmarks.commands import run_verify
from benchmarks.cost import answered
from benchmarks.costly import costly_requests
from benchmarks.fixture import Fixture
from benchmarks.middleware import CONTENDERS as MIDDLEWARE
from benchmarks.report import INSTALL, Promise, Report, installed
from benchmarks.rounds import Effort
from benchmarks.verify import CONTENDERS as VERIFY
from benchmarks.worker import build, introduce

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
QUICK = Effort(rounds=1, seconds=0, tokens=2, cache_size=4)


@pytest.fixture(params=["asyncio"], name="anyio_backend")
def anyio_backend_(request: pytest.FixtureRequest) -> str:
    """The contenders run where their users run them."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="module", params=["HS256", "RS256"], name="fixture")
def fixture_(request: pytest.FixtureRequest) -> Fixture:
    """Keys and tokens of each algorithm."""
    return Fixture.make(request.param, 2)


def quick(command: str) -> dict[str, Any]:
    """The JSON of a quick run."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", command, "--quick", "--json", "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=8 * PATIENCE,
    )
    report: dict[str, Any] = json.loads(run.stdout)
    return report


@pytest.mark.parametrize(("command", "contenders"), [("verify", VERIFY), ("middleware", MIDDLEWARE)])
def test_each_contender_is_measured_or_named_as_left_out(command: str, contenders: dict[str, Any]) -> None:
    """A run tells versions, date and Python, and has a row for each contender in each algorithm, or what it lacks."""
    report = quick(command)
    assert report["command"] == command
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["versions"]["PyJWT"] == installed("PyJWT")
    assert report["install"] == INSTALL
    for algorithm in ("HS256", "RS256"):
        [rows] = [rows for title, rows in report["tables"].items() if title.startswith(algorithm)]
        assert rows.keys() | report["left_out"].keys() == contenders.keys()
        assert all(isinstance(value, float) for row in rows.values() for value in row.values())
    assert report["accepts"]["asgi_jwt"] == []
    assert all(promise.keys() == {"what", "measured", "bound", "least", "kept"} for promise in report["promises"])


def test_server_is_measured() -> None:
    """A run under uvicorn tells the rate of the bare app and of the protected one, for each algorithm."""
    report = quick("server")
    assert len(report["tables"]) == 2
    for rows in report["tables"].values():
        assert rows["bare"]["rate"] > 0
        assert rows["protected"]["of the bare app's"] == pytest.approx(rows["protected"]["rate"] / rows["bare"]["rate"])


def test_refresh_is_measured() -> None:
    """A run of refreshes has each store beside its floor, and keeps the promises that no clock has a part in."""
    report = quick("refresh")
    stores = [rows for title, rows in report["tables"].items() if "a refresh" in title]
    assert [list(rows) for rows in stores] == [["asgi_jwt", "bare", "asgi_jwt to bare"]] * 3
    counted = {promise["what"]: promise["kept"] for promise in report["promises"]}
    assert counted["SQLite: commits of 50 at once"]
    assert counted["Redis: bytes a session"]


def test_postgres_is_measured() -> None:
    """A run has an update beside its two statements, and the rows that updates leave behind."""
    update, rows = quick("postgres")["tables"].values()
    assert list(update) == ["store.update", "SELECT and UPDATE"]
    assert [row["bytes a session"] > 0 for row in rows.values()] == [True, True]


def test_growth_is_measured() -> None:
    """A run has each store with its calls and bytes by the number of sessions, and what its revocations cost."""
    *stores, mirrors = quick("growth")["tables"].values()
    assert list(mirrors) == ["memory", "SQLite", "Valkey", "PostgreSQL"]
    assert [list(rows) for rows in stores] == [["200"]] * 4
    columns = ["refresh, µs", "refreshes a second", "list, µs", "sweep, µs", "logins a second", "bytes a session"]
    assert [list(rows["200"]) for rows in stores] == [columns] * 4


def test_revocations_are_measured() -> None:
    """A run of revocations has each store and each kind, and keeps the promises that no clock has a part in."""
    report = quick("revocations")
    tables = {title: list(rows) for title, rows in report["tables"].items()}
    assert ["none", "empty", "all"] in tables.values()
    assert ["sid", "jti", "sub"] in tables.values()
    assert ["MemoryStore", "SQLiteStore", "RedisStore"] in tables.values()
    counted = {promise["what"]: promise["kept"] for promise in report["promises"]}
    assert counted["reads of the log at the store"]
    assert counted["MB for them in a process, of the heaviest kind"]
    assert counted["entries left in the log, of each that lapsed"]


def test_remote_is_measured() -> None:
    """A run of fetches has each backend's gaps beside an idle loop's, and what a made-up kid costs."""
    report = quick("remote")
    gaps = [rows for title, rows in report["tables"].items() if "gap" in title]
    others = ["nothing", "a thread that computes", "a thread without the lock"]
    cases = [f"a {what} of {size} keys" for what in ("fetch", "reload") for size in (4, 100)]
    assert [list(rows) for rows in gaps] == [others + cases] * 2
    assert all(row["longest"] >= row["median"] > 0 for rows in gaps for row in rows.values())
    assert len([promise for promise in report["promises"] if "made-up kid" in promise["what"]]) == 2


def test_cost_is_measured() -> None:
    """A run has each kind of request, and no request of them has more than four signatures checked."""
    report = quick("cost")
    assert list(report["tables"]) == [f"By {kind}" for kind in ("body", "header", "cookie", "token", "path")]
    *times, checks = report["promises"]
    assert [promise["bound"] for promise in times] == [1000.0] * 5
    assert (checks["measured"], checks["kept"]) == (4.0, True)


def test_dpop_is_measured() -> None:
    """A run has a request with a proof, and one without beside a bare signature check."""
    report = quick("dpop")
    ((unbound, checked, bound),) = [rows.values() for rows in report["tables"].values()]
    assert 0 < unbound["µs"] < min(checked["µs"], bound["µs"])
    assert [promise["bound"] for promise in report["promises"]] == [15.0]


def test_frameworks_are_measured() -> None:
    """A run has each framework's route with `require`, in the time of the same route with an empty check."""
    report = quick("frameworks")
    assert [list(rows) for rows in report["tables"].values()] == [["empty", "require"]] * 2
    assert all(promise["measured"] > 0 for promise in report["promises"])


async def test_costly_requests_are_refused() -> None:
    """Every request of the table of costs is answered, and none lets anyone in or fails."""
    answers = {
        f"{kind}: {name}": await answered(costly)
        for kind, requests in costly_requests().items()
        for name, costly in requests.items()
    }
    let_in = {name: status for name, status in answers.items() if status < 400}
    assert let_in.keys() <= {"header: If-None-Match", *(name for name in answers if name.endswith("/health"))}
    assert max(answers.values()) < 500
    # Each body is read: no other refusal comes first.
    assert {status for name, status in answers.items() if name.startswith("body")} == {400, 413}


@pytest.mark.parametrize(("group", "name"), [("verify", "oxyjwt"), ("middleware", "authx")])
async def test_a_rival_that_is_not_installed(group: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contender without its library says which module it lacks."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as missing:
        build(group, name, Fixture.make("HS256", 2))
    assert missing.value.name == name


def test_report_tells_how_to_install_what_was_left_out() -> None:
    """The text names each contender left out, the module it lacks, and the command that installs it."""
    text = str(Report(command="verify", left_out={"authx": "authx"}))
    assert "authx: there is no module authx" in text
    assert INSTALL in text


@pytest.mark.parametrize(
    ("measured", "least", "kept"), [(2, False, True), (3, False, False), (3, True, True), (1, True, False)]
)
def test_promise(measured: float, least: bool, kept: bool) -> None:
    """A promise is kept up to its bound, or from it on for one that is the least."""
    promise = Promise("a thing", measured, 2, least=least)
    assert promise.kept is kept
    assert ("MISSED" in str(Report(command="verify", promises=[promise]))) is not kept


async def test_ours_refuses_what_the_odd_tokens_have_wrong(fixture: Fixture) -> None:
    """No odd token and no odd request gets past us, and a contender that let a forged token in would not start."""
    for group in ("verify", "middleware"):
        contender = build(group, "asgi_jwt", fixture)
        assert (await introduce(contender, fixture))["accepts"] == []
    careless = build("verify", "the signature alone", fixture)
    assert set((await introduce(careless, fixture))["accepts"]) == fixture.odd.keys()
    swapped = Fixture(**{**vars(fixture), "forged": fixture.tokens})
    with pytest.raises(RuntimeError, match="forged"):
        await introduce(contender, swapped)


async def test_new_tokens_are_new(fixture: Fixture) -> None:
    """A run in which the cache remembers a token that should be new to it fails."""
    only = Fixture(**{**vars(fixture), "tokens": fixture.tokens[:1]})
    contender = build("verify", "asgi_jwt", only)
    await contender.take_times(0)
    with pytest.raises(AssertionError, match="new"):
        await contender.take_times(0)


@pytest.mark.outside
def test_instructions_are_counted() -> None:
    """A protection's instructions are counted beside a floor made by hand, and the same run counts the same twice."""
    program("valgrind")
    counts = instructions.count(["bare app", "SHA-256 of the token alone", "asgi_jwt"])
    assert 0 < counts["SHA-256 of the token alone"] < counts["asgi_jwt"]
    again = instructions.count(["bare app", "asgi_jwt"])
    assert again["asgi_jwt"] == pytest.approx(counts["asgi_jwt"], rel=0.05)


def test_every_promise_is_measured() -> None:
    """A run in this process promises the time of new, forged and oversized tokens, and the memory of the cache."""
    report = run_verify(QUICK)
    assert len(report.promises) == 9
    assert "KiB" in report.promises[-1].what
