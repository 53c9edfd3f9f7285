"""Issuing access tokens."""

import re
from dataclasses import replace
from typing import Any

import jwt
import pytest
from support.tables import tables_of
from support.tokens import AUDIENCE, ISSUER, NOW, SECRET, ec_key, ed25519_key, p384_key, p521_key, private_pem, rsa_key

from asgi_jwt.auth import Auth
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings import Settings
from asgi_jwt.testing import Clock, fake_issuer
from asgi_jwt.tokens.algorithms import ALGORITHMS, SYMMETRIC
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.identity import Identity
from asgi_jwt.tokens.issuer import TokenIssuer, access_payload
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.verifier import TokenVerifier

POLICY = TokenPolicy(issuer=ISSUER, audience=(AUDIENCE, "second"), algorithms=frozenset(ALGORITHMS))


def issuer_for(
    key: Key | None = None, algorithm: str = "HS256", *, refresh_key: Key | None = None, **policy: Any
) -> TokenIssuer:
    rules, clock = replace(POLICY, **policy), Clock(NOW + 0.7)
    return TokenIssuer(key or Key.from_secret(SECRET), algorithm, rules, ttl=900, clock=clock, refresh_key=refresh_key)


def signing_key(algorithm: str) -> Key:
    if algorithm in SYMMETRIC:
        return Key.from_secret(SECRET)
    curves: dict[str, Any] = {"ES256": ec_key, "ES384": p384_key, "ES512": p521_key, "Ed": ed25519_key}
    return Key.from_pem(
        private_pem(next((curves[start] for start in curves if algorithm.startswith(start)), rsa_key)())
    )


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, as another library reads them."""
    options: Any = {"verify_signature": False}
    return jwt.get_unverified_header(token), jwt.decode(token, options=options)


def test_an_access_token_says_what_rfc_9068_asks_for() -> None:
    """Header and claims are those of RFC 9068 section 2, and the identity's own."""
    identity = Identity(
        "alice", scopes="orders:read orders:write", roles=["staff"], claims={"email": "a@example"}, client_id="app"
    )
    header, payload = read(issuer_for().access_token(identity, session_id="s1"))
    jti = payload.pop("jti")
    assert header == {"alg": "HS256", "typ": "at+jwt"}
    assert payload == {
        "iss": ISSUER,
        "sub": "alice",
        "aud": [AUDIENCE, "second"],
        "exp": NOW + 900,
        "iat": NOW,
        "client_id": "app",
        "scope": "orders:read orders:write",
        "roles": ["staff"],
        "sid": "s1",
        "type": "access",
        "email": "a@example",
    }
    assert re.fullmatch(r"[0-9a-f]{32}", jti)


def test_what_is_not_known_is_left_out() -> None:
    """An identity without scopes, roles and session gives a token without them; so does a policy that asks for less."""
    _, payload = read(issuer_for().access_token(Identity("alice")))
    assert payload.keys() == {"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "type"}
    payload = access_payload(Identity("alice"), replace(POLICY, type=None, audience=None), now=NOW, ttl=60)
    assert payload == {"iss": ISSUER, "sub": "alice", "iat": NOW, "exp": NOW + 60}


@pytest.mark.parametrize(
    ("named", "setting", "client_id"), [(None, None, AUDIENCE), (None, "web", "web"), ("app", "web", "app")]
)
def test_a_token_always_has_a_client(named: str | None, setting: str | None, client_id: str) -> None:
    """`client_id` is the identity's, else `CLIENT_ID`, else the first audience (RFC 9068 section 2.2)."""
    auth = Auth(Settings(issuer=ISSUER, audience=[AUDIENCE, "second"], client_id=setting, secret=SECRET))
    _, payload = read(auth.issuer.access_token(Identity("alice", client_id=named)))
    assert payload["client_id"] == client_id
    with fake_issuer(auth) as issue:
        assert read(issue.token("alice", client_id=named))[1]["client_id"] == client_id


def test_every_token_has_an_id_of_its_own() -> None:
    """No two tokens share a `jti`, so that one can be revoked alone."""
    issuer = issuer_for()
    assert len({read(issuer.access_token(Identity("alice")))[1]["jti"] for _ in range(50)}) == 50


@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_what_is_issued_verifies(algorithm: str) -> None:
    """A token issued with any algorithm is accepted under the same policy, by the public half of its key."""
    key = signing_key(algorithm)
    jwk = key.public_jwk()
    keys = KeySet([key if jwk is None else Key.from_jwk({**jwk, "alg": algorithm})])
    verifier = TokenVerifier(keys, POLICY, cache_size=0, clock=Clock(NOW))
    token = issuer_for(key, algorithm).access_token(Identity("älice", claims={"tenant": {"plan": ["free"]}}))
    verified = await verifier.verify(token.encode())
    assert (verified.subject, verified["tenant"]["plan"]) == ("älice", ("free",))
    assert read(token)[0].get("kid") == key.kid


def test_an_identity_is_not_changed_by_its_token() -> None:
    """The identity's claims are copied into the payload: issuing twice gives the same."""
    identity = Identity("alice", roles=["r"], claims={"realm_access": {"groups": ["g"]}})
    policy = replace(POLICY, roles_claim="realm_access.roles")
    first = access_payload(identity, policy, now=NOW, ttl=60)
    assert first["realm_access"] == {"groups": ("g",), "roles": ("r",)}
    assert identity.claims == {"realm_access": {"groups": ("g",)}}
    assert access_payload(identity, policy, now=NOW, ttl=60) == first


@pytest.mark.parametrize(
    ("policy", "named"), [({"audience": None}, "AUDIENCE"), ({"typ": frozenset({"vendor+jwt"})}, "TYP")]
)
def test_what_could_not_be_accepted_is_not_issued(policy: dict[str, Any], named: str) -> None:
    """No issuer is made where no audience is checked, or where the type of its tokens would be refused."""
    with pytest.raises(ConfigurationError, match=named):
        issuer_for(**policy)


def test_a_token_that_would_be_refused_for_its_size_is_not_issued() -> None:
    """Claims and subjects too large for `MAX_TOKEN_SIZE` raise where they are issued, not at the next request."""
    issuer = issuer_for(max_token_size=1000, refresh_key=Key.from_secret("r" * 32))
    assert len(issuer.access_token(Identity("alice", claims={"note": "x" * 200}))) <= 1000
    with pytest.raises(ValueError, match="MAX_TOKEN_SIZE"):
        issuer.access_token(Identity("alice", claims={"note": "x" * 1000}))
    with pytest.raises(ValueError, match="past MAX_TOKEN_SIZE: the subject is too long"):
        issuer.refresh_token("a" * 1000, "s1", generation=0, branch="b", expires_at=NOW + 60)


@pytest.mark.parametrize(
    ("changes", "claims"),
    tables_of(__file__)["claims_give_no_authority_under_a_configured_name"],
)
def test_claims_give_no_authority_under_a_configured_name(changes: dict[str, Any], claims: dict[str, Any]) -> None:
    """An identity's own claims, which may come from a profile, can't hold scopes, roles, audience or type."""
    auth = Auth(Settings(issuer="https://issuer.example", audience="api", secret="s" * 32, **changes))
    with pytest.raises(ValueError, match="the issuer's to set"):
        auth.issuer.access_token(Identity("alice", claims=claims))


@pytest.mark.anyio
async def test_claims_are_issued_where_they_are_looked_for() -> None:
    """Every claim setting may be a path: what is issued here verifies here."""
    paths: dict[str, Any] = {
        "audience_claim": "for.service",
        "scope_claim": '"com.acme".scp',
        "roles_claim": "resource_access.'com.acme'.roles",
        "type": "com.use=access",
        "required_claims": '"kubernetes.io".pod=p',
    }
    auth = Auth(Settings(issuer="https://issuer.example", audience="api", secret="s" * 32, **paths))
    pod = {"kubernetes.io": {"pod": "p"}}
    token = auth.issuer.access_token(Identity("alice", scopes="a b", roles=["admin"], claims=pod))
    claims = await auth.verify(token)
    assert (sorted(claims.scopes), sorted(claims.roles)) == (["a", "b"], ["admin"])
    assert claims["for"]["service"] == ("api",)
    assert claims["com.acme"]["scp"] == "a b"
    with fake_issuer(auth) as issue:
        assert (await auth.verify(issue.token("alice"))).subject == "alice"


def test_refresh_tokens_need_their_secret() -> None:
    """Without a key for them refresh tokens are refused, and the setting that is missing is named."""
    with pytest.raises(ConfigurationError, match="ASGI_JWT_REFRESH_SECRET is missing"):
        issuer_for().refresh_token("alice", "s1", generation=0, branch="b", expires_at=1)
