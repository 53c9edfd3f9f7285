"""What a check finds at remote issuers, each a real server on this machine."""

import anyio
from support.issuers import IssuerServer
from support.tokens import NOW, ec_key, jwk_of, p384_key

from asgi_jwt.commands.check_issuers import check_issuer
from asgi_jwt.commands.findings import OK, PROBLEM, Finding
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.algorithms import ASYMMETRIC
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.remote_keys import RemoteKeySet


def look(server: IssuerServer) -> list[Finding]:
    """What is found at the issuer of `server`, whose keys come by discovery."""
    keys = RemoteKeySet(issuer=server.issuer, clock=Clock(NOW))
    policy = TokenPolicy(issuer=server.issuer, audience=None, algorithms=ASYMMETRIC)
    return anyio.run(check_issuer, policy, keys)


def test_its_keys(server: IssuerServer) -> None:
    """How many there are and which, and why each of the others is left out, printed safely."""
    server.publish(jwk_of(ec_key(), "a"), jwk_of(p384_key(), "b\x1b"), jwk_of(ec_key(), "c", use="enc"), {"kty": "x"})
    found, left_out = look(server), f"{server.issuer} has one that is left out:"
    assert {finding.level for finding in found} == {OK}
    assert [finding.found for finding in found] == [
        f'{server.issuer} has 2 keys to verify with, "a" (ES256), "b\\u001b" (ES384)',
        f"{left_out} Key(kid='c', algorithms=('ES256',)) is not for verifying signatures",
        f"{left_out} key 4 of the JWK Set can't be used: its kty is none of RSA, EC, OKP and oct",
    ]


def test_an_issuer_that_can_not_be_reached(server: IssuerServer) -> None:
    """What it answered is told, and which setting to look at."""
    server.fail()
    (finding,) = look(server)
    assert (finding.level, finding.about) == (PROBLEM, "issuer")
    assert finding.found.startswith(f"the keys of {server.issuer} can't be had: {server.issuer}/.well-known/")
    assert "ASGI_JWT_ISSUER, or ASGI_JWT_JWKS_URL, is right" in finding.mend


def test_an_issuer_that_names_itself_otherwise(server: IssuerServer) -> None:
    """How it names itself is told, safely, and that the setting has to be the same."""
    server.describe(issuer="https://other.example/\x1b")
    (finding,) = look(server)
    assert finding.found.endswith(r"names another issuer, 'https://other.example/\x1b'")
    assert finding.mend == "set ASGI_JWT_ISSUER to that, to the letter, if it is the one you trust"
