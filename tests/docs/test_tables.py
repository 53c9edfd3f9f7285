"""Every table of the documentation lists what there is: no more, no less, by the same names."""

import inspect
import logging
import re
from dataclasses import fields
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any

import pytest
from support.app import Service
from support.metering import scraped
from support.other_issuers import ISSUERS
from support.pages import BENCHMARKS, DOCS, section_of, table_of

from asgi_jwt import (
    Auth,
    AuthApp,
    AuthError,
    MemoryStore,
    PostgresStore,
    RedisStore,
    Settings,
    SQLiteStore,
    cli,
    errors,
    events,
    open_store,
)
from asgi_jwt.http import bodies
from asgi_jwt.sessions.rotation import Verdict
from asgi_jwt.stores.urls import REDIS_SCHEMES
from asgi_jwt.telemetry import COUNTED, OBSERVED, Counted
from benchmarks.evidence import simulation
from benchmarks.evidence.rotations import WAYS


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_settings() -> None:
    """Every setting is in the table, in its order and with its default."""
    rows = table_of("settings", "Every setting")
    settings = fields(Settings)
    assert [name.strip("`").lower() for name, *_ in rows] == [each.name for each in settings]
    given = Settings(issuer="i", audience="a", secret="s" * 32)
    with_sessions = Settings(issuer="i", audience="a", secret="s" * 32, refresh_secret="r" * 32)
    for (name, default, meaning), each in zip(rows, settings, strict=True):
        assert meaning
        if default == "required by `AuthApp`":
            with pytest.raises(errors.ConfigurationError, match=name.strip("`")):
                AuthApp(Auth(given, store=MemoryStore()), lambda credentials, request: None)
        elif default.startswith("required"):
            with pytest.raises(errors.ConfigurationError, match=name.strip("`")):
                Settings()
        elif default.endswith(" with `REFRESH_SECRET`, else none"):
            read = each.metadata["read"](codes(default)[0])
            assert (getattr(with_sessions, each.name), getattr(given, each.name)) == (read, None), name
        elif default:
            assert each.metadata["read"](default.strip("`")) == each.default, name
        else:
            assert each.default in (None, ()), name


@pytest.mark.anyio
async def test_routes() -> None:
    """The routes that the table lists are those of `AuthApp`, each with its method and no other."""
    listed: dict[str, set[str]] = {}
    for route, *_ in table_of("login", "Routes"):
        for method, path in re.findall(r"([A-Z]+) (/[^`]+)", route):
            listed.setdefault(path, set()).add(method)
    service = Service(settings={"logout_audience": "shop"})
    for path, methods in listed.items():
        refused = await service.ask("PATCH", path.replace("{sid}", "s1"))
        assert refused.status == 405, path
        assert set(refused.headers["allow"].split(", ")) - {"HEAD"} == methods, path
    mounted: Any = service.app
    assert {route.path for route in mounted._app.app.routes} == listed.keys()


def test_verdicts() -> None:
    """Every verdict has its row, in the order in which they are weighed."""
    assert [codes(verdict)[0] for verdict, *_ in table_of("rotation", "Verdicts")] == [*Verdict]


@pytest.mark.outside
def test_simulation() -> None:
    """The simulation gives the figures of the pages."""
    results = {name: simulation.simulate(way, users=400, seed=1) for name, way in WAYS.items()}
    shown = [
        [name, f"{result.false_logouts:.1f} %", *(f"{out:g}" if out < inf else "never" for out in result[1:3])]
        for name, result in results.items()
    ]
    assert table_of("rotation", "A simulation") == shown
    assert section_of(BENCHMARKS, "What rotation does to users and thieves").table[1:] == shown


def test_stores(tmp_path: Path) -> None:
    """Every URL opens the store that its row is about, and each scheme has a row, with TLS or without."""
    stores: dict[str, type] = {"memory": MemoryStore, "sqlite": SQLiteStore, "postgresql": PostgresStore}
    listed = set()
    for url, *_ in table_of("stores", "URLs"):
        scheme = url.strip("`").partition(":")[0]
        listed.add(scheme)
        store = open_store(url.strip("`").replace("/path/to", str(tmp_path)))
        assert type(store) is stores.get(scheme, RedisStore), url
    assert {scheme.replace("rediss", "redis") for scheme in listed} == {
        scheme.replace("rediss", "redis") for scheme in (*stores, *REDIS_SCHEMES)
    }


def test_rights_and_parameters_of_redis() -> None:
    """The rights that the page asks for are those that `RedisStore` names, and the parameters those that a URL has."""
    text = (DOCS / "stores.md").read_text(encoding="utf-8")
    asked = text.partition("needs these rights")[2].partition("\n- ")[0]
    right = r"\+[a-z@|]+"
    assert set(re.findall(right, asked)) == set(re.findall(right, RedisStore.__doc__ or "")) != set()
    told = set(re.findall(r"`(\w+)`", text.partition("Parameters\nbehind `?`:")[2].partition("\n\n")[0]))
    with pytest.raises(errors.ConfigurationError, match="it takes ") as refused:
        open_store("rediss+sentinel://host/service?unknown=1")  # this URL takes all parameters that there are
    assert told == set(str(refused.value).partition("it takes ")[2].split(", "))


def test_issuers() -> None:
    """Every issuer whose tokens are tested has a row with the settings of its test; capitals stand for your own."""
    rows = table_of("remote-issuers", "Settings for known issuers")
    assert [name for name, *_ in rows] == list(ISSUERS)
    for name, issuer, audience, further in rows:
        shown = dict(setting.split("=", 1) for setting in re.findall(r"`([A-Z_]+=[^`]+)`", further))
        shown |= {"ISSUER": issuer.strip("`")} if issuer.startswith("`") else {}
        shown |= {"AUDIENCE": audience.strip("`")} if audience.startswith("`") else {}
        tested = {setting.upper(): value for setting, value in ISSUERS[name].row.items()}
        assert shown.keys() | {"ISSUER", "AUDIENCE"} == tested.keys(), name
        for setting, value in shown.items():
            pattern = re.sub(r"[A-Z]{2,}(\\-[A-Z]+)*", ".+", re.escape(value.partition("` (")[0]))
            assert re.fullmatch(pattern, tested[setting]), (name, setting)


def test_errors() -> None:
    """Every error is in the table, with its reason code, its status, and what the client is told."""
    rows = table_of("errors", "Every reason")
    known = inspect.getmembers(errors, inspect.isclass) + inspect.getmembers(bodies, inspect.isclass)
    tree = {one for _, one in known if issubclass(one, AuthError)}
    expected = {(f"`{one.reason}`", str(one.status), one.error and f"`{one.error}`", one.description) for one in tree}
    assert {(reason, status, error or None, description) for reason, status, error, description in rows} == expected
    assert len(rows) == len(tree)


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command has its row, and no other."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = {name.split()[1] for row in table_of("cli", "Commands") for name in codes(row[0])}
    assert listed == set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE))


def test_events() -> None:
    """Every event is in the table, in its order, with its level and its fields."""
    rows = table_of("operations", "Events")
    kinds = [kind for kind in vars(events).values() if inspect.isclass(kind) and issubclass(kind, events.Event)]
    expected = [
        [f"`{kind.__name__}`", logging.getLevelName(kind.level), ", ".join(f"`{each.name}`" for each in fields(kind))]
        for kind in kinds
        if kind is not events.Event
    ]
    assert [row[:3] for row in rows] == expected
    assert all(row[3] for row in rows)


class ObservedAuth:
    """The parts of an `Auth` that metrics read."""

    class Verifier:
        verified = cache_hits = 1

        def key_ages(self) -> dict[str, float]:
            return {"https://issuer.example": 1.0}

    class Revocations:
        age = 1.0

    events = events.EventSink()
    verifier = Verifier()
    revocations = Revocations()


@pytest.mark.anyio
async def test_metrics() -> None:
    """Every metric is in the table, in its order, by the names and labels of a real scrape over HTTP."""
    rows = [row for row in table_of("operations", "Metrics") if row[0].startswith("`")]
    assert [row[0] for row in rows] == [f"`{metric.name}`" for metric in (*COUNTED, *OBSERVED)]
    assert [row[3] for row in rows] == [metric.description for metric in (*COUNTED, *OBSERVED)]
    auth = ObservedAuth()
    with scraped(auth) as scrape:
        for metric in COUNTED:
            assert isinstance(metric, Counted)
            for kind in metric.attributes:
                await auth.events.emit(kind(*["x" for _ in fields(kind)]))
        samples = scrape.samples()
    assert samples.keys() == {name.strip("`") for _, name, *_ in rows}
    for _, name, attributes, _ in rows:
        labels = {label for series in samples[name.strip("`")] for label, _ in series}
        assert labels == {each.replace(".", "_") for each in codes(attributes)}, name


def test_alerts() -> None:
    """Every alert of the file is in the table, with its threshold."""
    rules = (files("asgi_jwt") / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    found = re.findall(r"- alert: (\w+)\n.*?\[5m\]\)\) / 5 > (\d+)\"", rules, re.DOTALL)
    shown = [row[:2] for row in table_of("operations", "Alerts")]
    assert shown == [[f"`{name}`", f"{threshold} a minute"] for name, threshold in found]
