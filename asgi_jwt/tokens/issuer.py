"""Issues tokens: RFC 9068."""

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.compact import encode_base64url, thaw
from asgi_jwt.tokens.identity import Identity
from asgi_jwt.tokens.keys import Key


def sign(header: Mapping[str, Any], payload: Mapping[str, Any], key: Key, algorithm: str) -> str:
    """`payload` as a JWS in compact form (RFC 7515 section 7.1), its header led by `alg` and, where known, `kid`."""
    head: dict[str, Any] = {"alg": algorithm} if key.kid is None else {"alg": algorithm, "kid": key.kid}
    signing_input = _segment({**head, **header}) + b"." + _segment(payload)
    return (signing_input + b"." + encode_base64url(key.sign(algorithm, signing_input))).decode()


def _segment(content: Mapping[str, Any]) -> bytes:
    return encode_base64url(json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode())


def access_payload(identity: Identity, policy: TokenPolicy, *, now: float, ttl: float) -> dict[str, Any]:
    """The claims that make `identity`'s access token meet `policy`, but for `jti` and `sid`."""
    payload: dict[str, Any] = thaw(identity.claims)
    if identity.client_id is not None:
        payload["client_id"] = identity.client_id
    if policy.type is not None:
        payload[policy.type[0]] = policy.type[1]
    if identity.scopes:
        payload[policy.scope_claim] = " ".join(identity.scopes)
    if identity.roles:
        _place(payload, policy.roles_claim, list(identity.roles))
    if policy.audience is not None:
        payload[policy.audience_claim] = list(policy.audience)
    payload |= {"iss": policy.issuer, "sub": identity.subject, "iat": int(now), "exp": int(now) + int(ttl)}
    return payload


def _place(payload: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".") if "://" not in name else [name]
    for parent in parents:
        payload = payload.setdefault(parent, {})
    payload[last] = value


class TokenIssuer:
    """Issues access tokens that meet `policy`, signed with `key`.

    `ttl` is their life in seconds, `clock` gives seconds since the epoch. Raises `ConfigurationError` where the
    audience is not checked: what has no audience can't be issued.
    """

    def __init__(
        self,
        key: Key,
        algorithm: str,
        policy: TokenPolicy,
        *,
        ttl: float,
        clock: Callable[[], float],
    ) -> None:
        if policy.audience is None:
            raise ConfigurationError("AUDIENCE is `*`: tokens can only be issued for a named audience")
        if "at+jwt" not in policy.typ:
            raise ConfigurationError("TYP lacks at+jwt, the type of every access token issued here")
        self.access_ttl = int(ttl)
        # Beyond what `Identity` refuses: the claims that give authority can have other names.
        whole, first = policy.roles_claim, policy.roles_claim.partition(".")[0]
        self._reserved = {policy.audience_claim, policy.scope_claim, whole, first, (policy.type or ("",))[0]}
        self._key = key
        self._algorithm = algorithm
        self._policy = policy
        self._clock = clock

    def access_token(self, identity: Identity, *, session_id: str | None = None) -> str:
        """A signed access token for `identity` (RFC 9068 section 2), bound to the session if one is given.

        Raises `ValueError` when the claims make it larger than `MAX_TOKEN_SIZE`, where it would be refused, or have
        the name of one that the issuer sets.
        """
        if not self._reserved.isdisjoint(identity.claims):
            raise ValueError("claims that hold the audience, the type, scopes or roles are the issuer's to set")
        payload = access_payload(identity, self._policy, now=self._clock(), ttl=self.access_ttl)
        payload["jti"] = secrets.token_urlsafe(16)
        if session_id is not None:
            payload["sid"] = session_id
        token = sign({"typ": "at+jwt"}, payload, self._key, self._algorithm)
        if len(token) > self._policy.max_token_size:
            raise ValueError(f"the access token has {len(token)} bytes, past MAX_TOKEN_SIZE: fewer claims are needed")
        return token
