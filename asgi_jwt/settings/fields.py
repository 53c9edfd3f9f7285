"""The table of settings: the type, the reader and the default of each."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from asgi_jwt.settings import key_values, values
from asgi_jwt.settings.origins import origins
from asgi_jwt.settings.text import clean
from asgi_jwt.tokens.claims import DEFAULT_TYP
from asgi_jwt.tokens.issuer_pattern import IssuerPattern
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet

MAX_LEEWAY = 300
"""The longest `LEEWAY` in seconds. No service accepts a token for longer after its `exp`."""
_YEAR = 366 * 86400


def _setting(read: Callable[[Any], Any], default: Any, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"read": lambda value: read(_cleaned(value)), "secret": secret})


def _keys(read: Callable[[Any], Any], default: Any) -> Any:
    """A setting of secrets or keys. Its reader gets the text unchanged."""
    return field(default=default, metadata={"read": read, "secret": True})


def _cleaned(value: object) -> object:
    return clean(value) if isinstance(value, str) else value


@dataclass(frozen=True, repr=False, eq=False)
class SettingsFields:
    """The value of every setting, in the order of the documentation's table. Durations are in seconds."""

    issuer: tuple[str, ...] = _setting(values.issuers, ())
    audience: tuple[str, ...] | None = _setting(values.audience, ())
    """None: the audience is not checked (`AUDIENCE=*`)."""
    client_id: str | None = _setting(values.text, None)
    """None: the first audience is the client id."""
    secret: str | bytes | None = _keys(key_values.secret, None)
    keys: KeySet | None = _keys(key_values.keys, None)
    jwks_url: str | None = _setting(values.text, None, secret=True)
    discovery: bool = _setting(values.flag, False)
    tenants: tuple[str, ...] | None = _setting(values.tenants, ())
    """None: any tenant is allowed (`TENANTS=*`)."""
    jwks_token_file: Path | None = _setting(key_values.token_file, None, secret=True)
    jwks_allow_http: tuple[str, ...] = _setting(values.hosts, ())
    introspection_url: str | None = _setting(key_values.https_url, None, secret=True)
    introspection_client_id: str | None = _setting(values.text, None)
    introspection_client_secret: str | None = _keys(key_values.client_secret, None)
    introspection_ttl: float = _setting(values.duration(most=3600), 60.0)
    algorithms: tuple[str, ...] = _setting(key_values.algorithms, ())
    leeway: float = _setting(values.duration(most=MAX_LEEWAY), 30.0)
    type: tuple[str, str] | None = _setting(values.type_claim, ("type", "access"))
    typ: frozenset[str] = _setting(key_values.typ, DEFAULT_TYP)
    require_typ: bool = _setting(values.flag, False)
    required_claims: tuple[tuple[str, str | None], ...] = _setting(values.claims, ())
    audience_claim: str = _setting(values.claim_name, "aud")
    scope_claim: str = _setting(values.claim_name, "scope")
    roles_claim: str = _setting(values.claim_name, "roles")
    max_token_size: int = _setting(values.count(least=256), 8192)
    cache_size: int = _setting(values.count(least=0), 4096)
    realm: str = _setting(values.quotable, "api")
    resource: str | None = _setting(values.resource, None)
    scopes: tuple[str, ...] = _setting(values.scopes, ())
    public_paths: tuple[str, ...] = _setting(values.public_paths, ())
    root_path: str | None = _setting(values.root_path, None)
    token_sources: tuple[str, ...] = _setting(values.token_sources, ("header",))
    trusted_origins: tuple[str, ...] = _setting(origins, ())
    dpop: Literal["on", "required", "off"] = _setting(values.dpop, "on")
    dpop_bases: tuple[str, ...] = _setting(values.bases, ())
    dpop_replay: Literal["process", "store"] = _setting(values.dpop_replay, "process")
    dpop_replay_size: int = _setting(values.count(least=1), 100_000)
    access_ttl: float = _setting(values.duration(least=1, most=3600), 900.0)
    store: str | None = _setting(values.text, None, secret=True)
    refresh_secret: tuple[str | bytes, ...] | KeySet = _keys(key_values.refresh_secrets, ())
    refresh_ttl: float = _setting(values.duration(least=1, most=_YEAR), 7 * 86400.0)
    session_ttl: float = _setting(values.duration(least=1, most=_YEAR), 30 * 86400.0)
    unremembered_ttl: float = _setting(values.duration(least=1, most=_YEAR), 12 * 3600.0)
    max_sessions: int = _setting(values.count(least=0), 0)
    shared_clients: tuple[str, ...] = _setting(values.texts, ())
    grace: float = _setting(values.duration(most=300), 30.0)
    recovery: float = _setting(values.duration(most=30 * 86400), 86400.0)
    cookie_name: str = _setting(values.cookie_name, "__Secure-refresh_token")
    cookie_path: str | None = _setting(values.cookie_path, None)
    cookie_secure: bool = _setting(values.flag, True)
    access_cookie: str | None = _setting(values.cookie_name, None)
    access_cookie_samesite: Literal["lax", "strict"] = _setting(values.same_site, "lax")
    logout_audience: tuple[str, ...] = _setting(values.client_ids, ())
    revocation_interval: float = _setting(values.duration(most=60), 1.0)
    revocation_max_staleness: float = _setting(values.duration(least=0.1, most=3600), 5.0)
    revocation_outage: Literal["closed", "open"] = _setting(values.outage, "closed")
    revocation_ttl: float = _setting(values.duration(least=1, most=_YEAR), 3600.0)

    @property
    def is_remote(self) -> bool:
        """Whether the keys come from remote issuers, by `jwks_url` or `discovery`."""
        return self.discovery or self.jwks_url is not None

    @property
    def pattern(self) -> IssuerPattern | None:
        """The issuer with a placeholder for the tenant. None: the issuers are named in full."""
        if self.tenants == ():
            return None
        return IssuerPattern.parse(self.issuer[0], self.tenants)

    @property
    def key_set(self) -> KeySet:
        """The keys of access tokens, from `keys` or `secret`. Empty if there are none, or remote issuers have them."""
        if self.keys is not None:
            return self.keys
        return KeySet(()) if self.secret is None else KeySet.from_secret(self.secret)

    @property
    def refresh_keys(self) -> KeySet:
        """The keys of refresh tokens. The first signs, and all verify."""
        if isinstance(self.refresh_secret, KeySet):
            return self.refresh_secret
        return KeySet([Key.from_secret(secret) for secret in self.refresh_secret])


FIELDS = {each.name: each for each in fields(SettingsFields)}
