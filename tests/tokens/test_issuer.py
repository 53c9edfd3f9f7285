"""Issuing access tokens."""

import re
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.tokens import AUDIENCE, ISSUER, NOW, SECRET, ec_key, ed25519_key, p384_key, p521_key, rsa_key

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


def issuer_for(key: Key | None = None, algorithm: str = "HS256", **policy: Any) -> TokenIssuer:
    return TokenIssuer(
        key or Key.from_secret(SECRET), algorithm, replace(POLICY, **policy), ttl=900, clock=Clock(NOW + 0.7)
    )


def signing_key(algorithm: str) -> Key:
    if algorithm in SYMMETRIC:
        return Key.from_secret(SECRET)
    curves: dict[str, Any] = {"ES256": ec_key, "ES384": p384_key, "ES512": p521_key, "Ed": ed25519_key}
    private = next((make for start, make in curves.items() if algorithm.startswith(start)), rsa_key)()
    return Key.from_pem(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


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


def test_a_refresh_token_that_would_be_refused_is_not_issued() -> None:
    """A subject that makes a refresh token larger than MAX_TOKEN_SIZE is a fault of the host's."""
    issuer = TokenIssuer(
        Key.from_secret(SECRET), "HS256", POLICY, ttl=900, clock=Clock(NOW), refresh_key=Key.from_secret("r" * 32)
    )
    with pytest.raises(ValueError, match="past MAX_TOKEN_SIZE: the subject is too long"):
        issuer.refresh_token("a" * 9000, "s1", generation=0, branch="b", expires_at=NOW + 60)


def test_what_is_not_known_is_left_out() -> None:
    """An identity without scopes, roles and session gives a token without these claims."""
    _, payload = read(issuer_for().access_token(Identity("alice")))
    assert payload.keys() == {"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "type"}


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


@pytest.mark.anyio
async def test_the_claims_go_where_the_policy_looks_for_them() -> None:
    """Scopes, roles, audience and type are put into the claims that the verifier reads them from."""
    policy = replace(
        POLICY,
        scope_claim="scp",
        roles_claim="realm_access.roles",
        audience_claim="client_id",
        audience=("app",),
        type=("token_use", "access"),
    )
    issuer = TokenIssuer(Key.from_secret(SECRET), "HS256", policy, ttl=60, clock=Clock(NOW))
    token = issuer.access_token(Identity("alice", scopes="a b", roles=["r"]))
    _, payload = read(token)
    assert (payload["scp"], payload["realm_access"], payload["client_id"]) == ("a b", {"roles": ["r"]}, ["app"])
    verifier = TokenVerifier(KeySet.from_secret(SECRET), policy, cache_size=0, clock=Clock(NOW))
    verified = await verifier.verify(token.encode())
    assert (verified.scopes, verified.roles) == (frozenset({"a", "b"}), frozenset({"r"}))


def test_a_url_is_one_name() -> None:
    """A roles claim named by a URL is one claim, whatever dots it has."""
    policy = replace(POLICY, roles_claim="https://app.example/roles")
    payload = access_payload(Identity("alice", roles=["r"]), policy, now=NOW, ttl=60)
    assert payload["https://app.example/roles"] == ("r",)


def test_without_a_type_and_an_audience_in_the_policy_the_payload_has_none() -> None:
    """What the policy does not ask for is not put in."""
    payload = access_payload(Identity("alice"), replace(POLICY, type=None, audience=None), now=NOW, ttl=60)
    assert payload == {"iss": ISSUER, "sub": "alice", "iat": NOW, "exp": NOW + 60}


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
    """Claims too large for `MAX_TOKEN_SIZE` raise where they are issued, not for the user at the next request."""
    issuer = issuer_for(max_token_size=1000)
    assert len(issuer.access_token(Identity("alice", claims={"note": "x" * 200}))) <= 1000
    with pytest.raises(ValueError, match="MAX_TOKEN_SIZE"):
        issuer.access_token(Identity("alice", claims={"note": "x" * 1000}))


@pytest.mark.parametrize(
    ("changes", "claims"),
    [
        ({"scope_claim": "scp"}, {"scp": ["admin"]}),
        ({"roles_claim": "permissions"}, {"permissions": ["admin"]}),
        ({"roles_claim": "realm_access.roles"}, {"realm_access": {"roles": ["admin"]}}),
        ({"roles_claim": "realm_access.roles"}, {"realm_access.roles": ["admin"]}),
        ({"roles_claim": 'resource_access."com.acme".roles'}, {"resource_access": {"com.acme": {"roles": ["admin"]}}}),
        ({"scope_claim": '"com.acme".scp'}, {"com.acme": {"scp": "admin"}}),
        ({"audience_claim": "audience"}, {"audience": ["other"]}),
        ({"type": "token_use=access"}, {"token_use": "id"}),
    ],
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
