"""The types of the keywords of `Settings`. A keyword is the lower-case name of a variable."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

from asgi_jwt.tokens.keys import KeySet

Names = str | Iterable[str]
Duration = str | float | timedelta


class SettingsKeywords(TypedDict, total=False):
    """The keywords of `Settings`. A value is the text that the variable would have, or the value itself."""

    issuer: Names
    audience: Names
    client_id: str | None
    secret: str | bytes | None
    secret_file: str
    keys: str | Mapping[str, Any] | KeySet | None
    keys_file: str
    jwks_url: str | None
    discovery: bool | str
    tenants: Names
    jwks_token_file: str | Path | None
    jwks_allow_http: Names
    introspection_url: str | None
    introspection_client_id: str | None
    introspection_client_secret: str | None
    introspection_client_secret_file: str
    introspection_ttl: Duration
    algorithms: Names
    leeway: Duration
    type: str
    typ: Names
    require_typ: bool | str
    required_claims: Names
    audience_claim: str
    scope_claim: str
    roles_claim: str
    max_token_size: int | str
    cache_size: int | str
    realm: str
    resource: str | None
    scopes: Names
    public_paths: Names
    root_path: str | None
    token_sources: Names
    trusted_origins: Names
    dpop: bool | str
    dpop_bases: Names
    dpop_replay: str
    dpop_replay_size: int | str
    access_ttl: Duration
    refresh_secret: str | bytes | Iterable[str | bytes] | Mapping[str, Any] | KeySet | None
    refresh_secret_file: str
    refresh_ttl: Duration
    session_ttl: Duration
    unremembered_ttl: Duration
    max_sessions: int | str
    shared_clients: Names
    grace: Duration
    recovery: Duration
    cookie_name: str
    cookie_path: str | None
    cookie_secure: bool | str
    access_cookie: str | None
    access_cookie_samesite: str
    logout_audience: Names
    revocation_interval: Duration
    revocation_max_staleness: Duration
    revocation_outage: str
    revocation_ttl: Duration
