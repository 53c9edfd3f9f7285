"""Each refusal of a tenant's token is explained: what its `iss`, its key or its `tid` is, and the mend."""

import pytest
from support.command_line import CommandLine
from support.issuers import JWKS, OPENID, IssuerServer
from support.tables import tables_of
from support.tokens import AUDIENCE, ec_key, jwk_of, thief_key, token_by


@pytest.fixture
def realms(asgi_jwt: CommandLine, server: IssuerServer) -> str:
    """The realms `a` and `b` of a server, of which `b` has no metadata. Returns the start of their issuers."""
    base = f"{server.issuer}/realms/"
    server.describe("/realms/a" + OPENID, issuer=f"{base}a")
    shared = jwk_of(ec_key(), "shared", issuer=f"{base}{{tenantid}}")
    server.publish(shared, jwk_of(thief_key(), "theirs", issuer=f"{base}b"))
    asgi_jwt.environ = {"ISSUER": f"{base}{{t}}", "AUDIENCE": AUDIENCE, "DISCOVERY": "true", "TENANTS": "a,b"}
    return base


REFUSED: dict[str, tuple[str, str]] = tables_of(__file__)["refused"]


@pytest.mark.parametrize("case", REFUSED)
def test_refused(asgi_jwt: CommandLine, realms: str, case: str) -> None:
    """The explanation names the tenant, and the setting or the claim that is to be mended."""
    (reason, explanation), tenant = REFUSED[case], case.partition("#")[0]
    key, kid = (thief_key(), "theirs") if case == "a#theirs" else (ec_key(), "shared")
    iss = realms + tenant
    told = asgi_jwt("inspect", stdin=token_by(key, kid, iss=iss, tid="b" if case == "a#tid" else tenant))
    first = told.out.splitlines()[0]
    assert told.status == 1
    assert first.startswith(f"refused ({reason}): " + explanation.replace("{iss}", iss).replace("{base}", realms))


def test_accepted(asgi_jwt: CommandLine, realms: str) -> None:
    """A tenant's token is verified with the tenant's keys."""
    assert asgi_jwt("inspect", stdin=token_by(ec_key(), "shared", iss=f"{realms}a", tid="a")).status == 0


def test_an_issuer_that_is_nearly_right(asgi_jwt: CommandLine, realms: str) -> None:
    """A slash, or the case of a letter, is told apart from another issuer; so is a `tid` that a setting asks for."""
    for base, told in ((realms.upper(), "the same to the letter"), ("https://other.example/", "ask that issuer")):
        assert told in asgi_jwt("inspect", stdin=token_by(ec_key(), "shared", iss=f"{base}a")).out
    asgi_jwt.environ["REQUIRED_CLAIMS"] = "tid=x"
    asked = asgi_jwt("inspect", stdin=token_by(ec_key(), "shared", iss=f"{realms}a", tid="a")).out
    assert "ASGI_JWT_REQUIRED_CLAIMS asks for" in asked


def test_checked(asgi_jwt: CommandLine, realms: str, server: IssuerServer) -> None:
    """`check` looks at the keys of each listed tenant, and names the tenant that its server does not know."""
    told = asgi_jwt("check")
    assert told.status == 1
    assert 'ok       settings: tenants "a", "b"' in told.out
    assert f"ok       issuer: {realms}a has 1 key to verify with" in told.out
    assert "names another issuer" in told.out
    assert f"problem  issuer: {realms}b is no issuer: its server knows no such tenant: " in told.out
    server.answer(JWKS, b"", status=500)
    assert f"problem  issuer: the keys of {realms}a can't be had" in asgi_jwt("check").out


def test_any_tenant_is_a_warning(asgi_jwt: CommandLine, realms: str, server: IssuerServer) -> None:
    """`TENANTS=*` is doubtful, and no tenant's keys are looked at."""
    asgi_jwt.environ["TENANTS"] = "*"
    told = asgi_jwt("check")
    assert told.status == 0
    assert "warning  settings: ASGI_JWT_TENANTS=* takes the tokens of every tenant" in told.out
    assert server.requests == []
