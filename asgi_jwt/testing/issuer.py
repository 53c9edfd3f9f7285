"""fake_issuer: issues tokens that an `Auth` accepts in tests, signed with throw-away keys."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from asgi_jwt.auth import Auth
from asgi_jwt.tokens.algorithms import ALGORITHMS
from asgi_jwt.tokens.claim_path import find_claim, place_claim
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.identity import Identity
from asgi_jwt.tokens.issuer import Signer, access_payload
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk
from asgi_jwt.tokens.keys import KeySet


class FakeIssuer:
    """Issues tokens that meet the policy of an `Auth`. `fake_issuer` makes it."""

    def __init__(self, auth: Auth, key: Key, algorithm: str) -> None:
        self._auth = auth
        self._key = key
        self._algorithm = algorithm

    def __call__(self, subject: str = "user", **identity: Any) -> dict[str, str]:
        """The headers of a request by `subject`: `{"Authorization": "Bearer ..."}`. The keywords are `token`'s.

        Where `TOKEN_SOURCES` has no `header`, it is the first header that is named there.
        """
        sources, token = self._auth.settings.token_sources, self.token(subject, **identity)
        named = [source.partition(":")[2] for source in sources if source.startswith("header:")]
        return {named[0]: token} if named and "header" not in sources else {"Authorization": f"Bearer {token}"}

    def token(
        self,
        subject: str = "user",
        *,
        scopes: str | Iterable[str] = (),
        roles: str | Iterable[str] = (),
        claims: Mapping[str, Any] | None = None,
        client_id: str | None = None,
        tenant: str | None = None,
        expires_in: float = 300,
    ) -> str:
        """A signed token. `claims` override all other claims; a value of None leaves its claim out.

        `tenant`: whose token it is, if `ISSUER` has a placeholder. None is the first of `TENANTS`, or `tenant` if that
        is `*`.
        `expires_in`: the token's life in seconds from now. A negative number makes an expired token.

        Raises `ValueError` for a tenant that is not allowed.
        """
        policy = self._policy_of(tenant)
        now = self._auth.clock()
        identity = Identity(subject, scopes=scopes, roles=roles, client_id=client_id)
        payload = access_payload(identity, policy, now=now, ttl=expires_in, client_id=self._auth.settings.client_id)
        payload["jti"] = secrets.token_urlsafe(16)
        for name, value in policy.required_claims:
            if find_claim(payload, name) is None:
                place_claim(payload, name, value or "test")
        payload = {name: value for name, value in (payload | dict(claims or {})).items() if value is not None}
        return Signer(self._key, self._algorithm, min(policy.typ, key=len)).sign(payload)

    def _policy_of(self, tenant: str | None) -> TokenPolicy:
        policy, pattern, tenants = self._auth.verifier.policy, self._auth.settings.pattern, self._auth.settings.tenants
        if pattern is None:
            if tenant is not None:
                raise ValueError("ISSUER has no placeholder, so its tokens are of no tenant")
            return policy
        issuer = pattern.issuer_of(tenant or (tenants or ("tenant",))[0])
        if pattern.tenant_of(issuer) is None:
            raise ValueError(f"TENANTS does not allow {tenant!r}")
        return replace(policy, issuer=issuer)


@contextmanager
def fake_issuer(auth: Auth) -> Iterator[FakeIssuer]:
    """Within the block `auth` verifies with throw-away keys. Its policy stays the same.

    ```python
    with fake_issuer(auth) as issue:
        response = client.get("/me", headers=issue("alice", scopes=["orders:read"]))
    ```
    """
    allowed = auth.verifier.policy.algorithms
    algorithm = next(name for name in (*_QUICK, *ALGORITHMS) if name in allowed)
    key = _key(algorithm)
    with using(auth, KeySet([key])):
        yield FakeIssuer(auth, key, algorithm)


@contextmanager
def using(auth: Auth, keys: KeySet) -> Iterator[None]:
    """Within the block `auth` signs and verifies with `keys`, for every issuer and by the same policies."""
    kept = auth._own, auth.verifier, auth._sessions
    auth._own = auth._own.with_access(keys)
    auth.verifier = auth.verifier.with_keys(keys)
    auth._sessions = None
    try:
        yield
    finally:
        auth._own, auth.verifier, auth._sessions = kept


# A key for these algorithms is made at once. An RSA key takes a tenth of a second.
_QUICK = ("EdDSA", "ES256", "HS256")


@cache
def _key(algorithm: str) -> Key:
    return Key.from_jwk(generate_jwk(algorithm))
