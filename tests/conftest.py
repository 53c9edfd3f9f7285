"""What all tests share."""

import os
import signal
from collections.abc import Iterator
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

import hypothesis
import pytest
from support.choosing import is_outside
from support.waiting import PATIENCE, bounded

if TYPE_CHECKING:
    from support.issuers import IssuerServer

pytest_plugins = ["support.valkey", "support.postgres"]

# A busy machine makes no test fail, and the same examples run everywhere.
hypothesis.settings.register_profile("everyday", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.register_profile("outside", deadline=None, derandomize=True, max_examples=300)


def pytest_configure(config: pytest.Config) -> None:
    """The tests `outside` try more examples than those of every day."""
    hypothesis.settings.load_profile("outside" if config.option.markexpr == "outside" else "everyday")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto` one more than there are processors: a third of the time tests wait for servers of theirs."""
    return (os.cpu_count() or 1) + 1


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark as `outside` whatever takes too long for every day, and give it longer."""
    if is_outside(item):
        item.add_marker(pytest.mark.outside)
    if item.get_closest_marker("outside"):
        item.add_marker(pytest.mark.timeout(20 * 60))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Bound each await of each asynchronous test."""
    if iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = bounded(pyfuncitem.obj)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both of the event loops that users run."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="session", autouse=True)
def _programs_end_by_signals() -> Iterator[None]:
    """A signal that ends programs ends those that tests start, also where it is ignored here.

    A shell ignores SIGINT for programs in the background, `nohup` ignores SIGHUP, and an ignored signal stays ignored
    in child processes. A handler that does nothing ignores the signal in this process alone.
    """
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ignored = [end for end in ends if signal.getsignal(end) is signal.SIG_IGN]
    for end in ignored:
        signal.signal(end, lambda *_: None)
    yield
    for end in ignored:
        signal.signal(end, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def _no_settings_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `ASGI_JWT_*` of the machine's leaks into a test, nor options of pytest's into a pytest that a test starts."""
    for variable in [name for name in os.environ if name.startswith("ASGI_JWT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


@pytest.fixture(autouse=True)
def _patience_with_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch of keys that is to succeed may take longer than a service would wait for it."""
    monkeypatch.setattr("asgi_jwt.tokens.discovery.FETCH_TIMEOUT", PATIENCE)


@pytest.fixture
def server() -> Iterator["IssuerServer"]:
    """An issuer on this machine that publishes one key, `a`, to which its metadata leads."""
    from support.issuers import IssuerServer  # not above: asgi_jwt is imported once coverage is measured
    from support.tokens import ec_key, jwk_of

    with IssuerServer() as server:
        server.publish(jwk_of(ec_key(), "a"))
        server.describe()
        yield server
