"""What a check finds at remote issuers, each a real server on this machine."""

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from forgeries import NOW, ec_key, p384_key
from issuer_server import IssuerServer, jwk_of

from asgi_jwt.commands.check_issuers import check_issuer
from asgi_jwt.commands.findings import OK, PROBLEM, WARNING, Finding
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.algorithms import ASYMMETRIC
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.jwks import RemoteKeySet


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer() as server:
        server.publish(jwk_of(ec_key(), "a"))
        server.describe()
        yield server


def look(server: IssuerServer, *, ahead: float | None = 0, leeway: float = 30, **source: Any) -> list[Finding]:
    """With an issuer whose clock is ahead by so much at least."""
    keys = RemoteKeySet(clock=Clock(NOW), **(source or {"issuer": server.issuer}))
    policy = TokenPolicy(issuer=server.issuer, audience=None, algorithms=ASYMMETRIC, leeway=leeway)

    async def work() -> list[Finding]:
        await keys.current()
        keys.clock_ahead = ahead
        return await check_issuer(policy, keys)

    return anyio.run(work)


def test_its_keys(server: IssuerServer) -> None:
    """How many there are and which, and why each of the others is left out, printed safely."""
    server.publish(jwk_of(ec_key(), "a"), jwk_of(p384_key(), "b\x1b"), jwk_of(ec_key(), "c", use="enc"), {"kty": "x"})
    found, left_out = look(server), f"{server.issuer} has one that is left out:"
    assert {finding.level for finding in found} == {OK}
    assert [finding.found for finding in found if finding.about == "issuer"] == [
        f'{server.issuer} has 2 keys to verify with, "a" (ES256), "b\\u001b" (ES384)',
        f"{left_out} Key(kid='c', algorithms=('ES256',)) is not for verifying signatures",
        f"{left_out} key 4 of the JWK Set can't be used: its kty is none of RSA, EC, OKP and oct",
    ]


def test_an_issuer_that_can_not_be_reached(server: IssuerServer) -> None:
    """What it answered is told, and which setting to look at."""
    server.fail()
    keys = RemoteKeySet(issuer=server.issuer, clock=Clock(NOW))
    policy = TokenPolicy(issuer=server.issuer, audience=None, algorithms=ASYMMETRIC)
    (finding,) = anyio.run(check_issuer, policy, keys)
    assert (finding.level, finding.about) == (PROBLEM, "issuer")
    assert finding.found.startswith(f"the keys of {server.issuer} can't be had: {server.issuer}/.well-known/")
    assert "ASGI_JWT_ISSUER, or ASGI_JWT_JWKS_URL, is right" in finding.mend


def test_an_issuer_that_names_itself_otherwise(server: IssuerServer) -> None:
    """How it names itself is told, safely, and that the setting has to be the same."""
    server.describe(issuer="https://other.example/\x1b")
    keys = RemoteKeySet(issuer=server.issuer, clock=Clock(NOW))
    policy = TokenPolicy(issuer=server.issuer, audience=None, algorithms=ASYMMETRIC)
    (finding,) = anyio.run(check_issuer, policy, keys)
    assert finding.found.endswith(r"names another issuer, 'https://other.example/\x1b'")
    assert finding.mend == "set ASGI_JWT_ISSUER to that, to the letter, if it is the one you trust"


@pytest.mark.parametrize(
    ("ahead", "leeway", "level", "told"),
    [
        (0, 30, OK, "it agrees with that of ISSUER"),
        (5, 30, OK, "it agrees with that of ISSUER"),
        (-5, 0, OK, "it agrees with that of ISSUER"),
        (6, 30, WARNING, "it is 6 seconds behind that of ISSUER"),
        (-30, 30, WARNING, "it is 30 seconds ahead of that of ISSUER"),
        (31, 30, PROBLEM, "it is 31 seconds behind that of ISSUER, past ASGI_JWT_LEEWAY (30 seconds): new tokens are"),
        (
            -6,
            5,
            PROBLEM,
            "it is 6 seconds ahead of that of ISSUER, past ASGI_JWT_LEEWAY (5 seconds): tokens are refused",
        ),
        (86400 * 3, 300, PROBLEM, "it is 3 days behind that of ISSUER, past ASGI_JWT_LEEWAY (5 minutes): new tokens"),
    ],
)
def test_clocks(server: IssuerServer, ahead: float, leeway: float, level: str, told: str) -> None:
    """A few seconds are nothing, more is a warning, and past the leeway tokens are refused."""
    *_, finding = look(server, ahead=ahead, leeway=leeway)
    assert (finding.about, finding.level) == ("clock", level)
    assert finding.found.startswith(told.replace("ISSUER", server.issuer))
    assert finding.mend == ("" if level == OK else "have it set by NTP")


def test_an_issuer_that_does_not_tell_the_time(server: IssuerServer) -> None:
    """Nothing is said of clocks then."""
    assert [finding.about for finding in look(server, ahead=None)] == ["issuer"]
