"""TokenIssuer: issues access and refresh tokens. RFC 9068."""

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.tokens.claim_path import place_claim, split_path
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.compact import encode_base64url
from asgi_jwt.tokens.header import accepts_typ
from asgi_jwt.tokens.identity import Described
from asgi_jwt.tokens.key import Key

# Frozen claims need no copy: tuples are encoded as arrays, and `default` turns read-only mappings into dicts.
_encode = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False, default=dict
).encode


class Signer:
    """Signs tokens of one `typ` with one key. Their header is encoded once."""

    def __init__(self, key: Key, algorithm: str, typ: str) -> None:
        header = {"alg": algorithm, "typ": typ}
        named = header if key.kid is None else {**header, "kid": key.kid}
        self._start = encode_base64url(_encode(named).encode()) + b"."
        self._key = key
        self._algorithm = algorithm

    def sign(self, payload: Mapping[str, Any]) -> str:
        """The token with this payload, as a JWS in compact form (RFC 7515 section 7.1)."""
        return self.sign_encoded(_encode(payload))

    def sign_encoded(self, payload: str) -> str:
        """The token with this payload, which is JSON text."""
        signing_input = self._start + encode_base64url(payload.encode())
        signature = encode_base64url(self._key.sign(self._algorithm, signing_input))
        return (signing_input + b"." + signature).decode("ascii")


def access_payload(
    whom: Described, policy: TokenPolicy, *, now: float, ttl: float, client_id: str | None = None
) -> dict[str, Any]:
    """The claims of an access token for `whom` that meet `policy`, without `jti` and `sid`.

    `now` is in seconds since the epoch, `ttl` in seconds. `client_id` is the default for a `whom` without one. None is
    the first audience (RFC 9068 section 2.2).
    """
    payload = dict(whom.claims)
    if client := whom.client_id or client_id or next(iter(policy.audience or ()), None):
        payload["client_id"] = client
    if whom.acr is not None:
        payload["acr"] = whom.acr
    if whom.amr:
        payload["amr"] = whom.amr
    if policy.type is not None:
        place_claim(payload, policy.type[0], policy.type[1])
    if whom.scopes:
        place_claim(payload, policy.scope_claim, " ".join(whom.scopes))
    if whom.roles:
        place_claim(payload, policy.roles_claim, whom.roles)
    if policy.audience is not None:
        place_claim(payload, policy.audience_claim, policy.audience)
    issued = int(now)
    payload["iss"], payload["sub"] = policy.issuer, whom.subject
    payload["iat"], payload["exp"] = issued, issued + int(ttl)
    return payload


class TokenIssuer:
    """Issues access tokens that meet `policy`, signed with `key`, and refresh tokens, signed with `refresh_key`.

    `ttl`: the life of an access token in seconds.
    `clock`: returns seconds since the epoch.
    `client_id`: the default for an identity without one. None is the first audience.
    `update_keys`: called before each access token. It calls `sign_with` if the keys have changed.
    The attribute `slow` is true if a signature takes so long that it should be made in a thread.

    Raises `ConfigurationError` if `policy` has no audience, or does not allow the `typ` of access tokens.
    """

    def __init__(
        self,
        key: Key,
        algorithm: str,
        policy: TokenPolicy,
        *,
        ttl: float,
        clock: Callable[[], float],
        refresh_key: Key | None = None,
        client_id: str | None = None,
        update_keys: Callable[[], None] | None = None,
    ) -> None:
        if policy.audience is None:
            raise ConfigurationError("AUDIENCE is `*`: tokens can only be issued for a named audience")
        if not accepts_typ(policy, "at+jwt"):
            raise ConfigurationError("TYP lacks at+jwt, the type of every access token issued here")
        self.access_ttl = int(ttl)
        self.sign_with(key, algorithm, refresh_key)
        self._refresh_start = _encode({"iss": policy.issuer, "aud": policy.audience, "type": "refresh"}).removesuffix(
            "}"
        )
        # Scopes, roles, audience and type may be in claims with other names than those that `Identity` refuses.
        paths = (policy.audience_claim, policy.scope_claim, policy.roles_claim, (policy.type or ("",))[0])
        self._reserved = {*paths, *(split_path(path)[0] for path in paths)}
        self._policy = policy
        self._client_id = client_id
        self._clock = clock
        self._update_keys = update_keys

    def sign_with(self, key: Key, algorithm: str, refresh_key: Key | None) -> None:
        """Sign with these keys from now on."""
        self.slow = key.slow
        self._access = Signer(key, algorithm, "at+jwt")
        self._refresh = None if refresh_key is None else Signer(refresh_key, "HS256", "rt+jwt")

    def access_token(
        self,
        identity: Described,
        *,
        session_id: str | None = None,
        auth_time: float | None = None,
        ends_at: float | None = None,
        jkt: str | None = None,
    ) -> str:
        """A signed access token for `identity`. `session_id` is its `sid` (RFC 9068 section 2).

        `auth_time` is the time of the login, and `exp` is not later than `ends_at`: in seconds since the epoch. `jkt`
        is the thumbprint of the key that the token is bound to (RFC 9449 section 6.1).

        Raises `ValueError` if the token is larger than `MAX_TOKEN_SIZE`, or if only the issuer may set a claim.
        """
        if self._update_keys is not None:
            self._update_keys()
        if not self._reserved.isdisjoint(identity.claims):
            raise ValueError("claims that hold the audience, the type, scopes or roles are the issuer's to set")
        payload = access_payload(
            identity, self._policy, now=self._clock(), ttl=self.access_ttl, client_id=self._client_id
        )
        payload["jti"] = secrets.token_hex(16)
        if session_id is not None:
            payload["sid"] = session_id
        if auth_time is not None:
            payload["auth_time"] = int(auth_time)
        if jkt is not None:
            payload["cnf"] = {"jkt": jkt}
        if ends_at is not None and ends_at < payload["exp"]:
            payload["exp"] = int(ends_at)
        token = self._access.sign(payload)
        if len(token) > self._policy.max_token_size:
            raise ValueError(f"the access token has {len(token)} bytes, past MAX_TOKEN_SIZE: fewer claims are needed")
        return token

    def refresh_token(
        self, subject: str, session_id: str, *, generation: int, branch: str, expires_at: int, jkt: str | None = None
    ) -> str:
        """A signed refresh token for this generation and branch of the session.

        `expires_at` is in seconds since the epoch. `jkt` is that of `access_token`. Raises `ConfigurationError` without
        a `REFRESH_SECRET`, and `ValueError` if the token is larger than `MAX_TOKEN_SIZE`.
        """
        if self._refresh is None:
            raise ConfigurationError("ASGI_JWT_REFRESH_SECRET is missing: refresh tokens can't be issued")
        bound = "" if jkt is None else f',"cnf":{{"jkt":{_encode(jkt)}}}'
        # Each refresh makes a token. Joining texts takes half the time of encoding a dict.
        token = self._refresh.sign_encoded(
            f'{self._refresh_start},"sub":{_encode(subject)},"sid":{_encode(session_id)},"gen":{generation},'
            f'"br":{_encode(branch)},"iat":{int(self._clock())},"exp":{expires_at},"jti":"{secrets.token_hex(16)}"{bound}}}'
        )
        if len(token) > self._policy.max_token_size:
            raise ValueError(f"the refresh token has {len(token)} bytes, past MAX_TOKEN_SIZE: the subject is too long")
        return token
