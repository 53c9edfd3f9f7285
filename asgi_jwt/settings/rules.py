"""The rules between settings: defaults that depend on other settings, and settings that exclude each other. Pure."""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from asgi_jwt.settings.fields import SettingsFields
from asgi_jwt.settings.source import VARIABLE_PREFIX, Fault
from asgi_jwt.tokens.algorithms import SYMMETRIC, same_algorithms
from asgi_jwt.tokens.discovery import LOOPBACK, check_issuer, check_url
from asgi_jwt.tokens.issuer_pattern import IssuerPattern

_INTROSPECTION = ("introspection_url", "introspection_client_id", "introspection_client_secret")
_KEYS = ("secret", "keys", "jwks_url", "discovery")
_DEFAULT_STORE = "sqlite:///asgi-jwt.db"
# Browsers compare the prefix without regard to case (RFC 6265bis, the storage model).
_COOKIE_PREFIX = re.compile(r"(?i:__(Secure|Host)-)")

Rule = Callable[[SettingsFields, Collection[str]], Iterator[Fault]]


def with_dependent_defaults(values: SettingsFields, given: Collection[str]) -> SettingsFields:
    """`values` with the defaults that depend on other settings. `given` are the names of settings that were set."""
    if not values.audience and values.audience is not None and values.resource:
        values = replace(values, audience=(values.resource,))
    if values.is_remote and "type" not in given:
        # The tokens of most remote issuers have no type claim.
        values = replace(values, type=None)
    if values.refresh_secret and values.store is None:
        values = replace(values, store=_DEFAULT_STORE)
    return values if values.cookie_secure else _with_bare_cookies(values)


def _with_bare_cookies(values: SettingsFields) -> SettingsFields:
    """`values` without the prefixes of cookie names, which browsers accept only for Secure cookies.

    RFC 6265bis section 4.1.3.
    """
    sources = (re.sub(f"^cookie:{_COOKIE_PREFIX.pattern}", "cookie:", source) for source in values.token_sources)
    return replace(
        values,
        cookie_name=_COOKIE_PREFIX.sub("", values.cookie_name, count=1),
        access_cookie=values.access_cookie and _COOKIE_PREFIX.sub("", values.access_cookie, count=1),
        token_sources=tuple(sources),
    )


def find_faults(values: SettingsFields, given: Collection[str], broken: Collection[str]) -> Iterator[Fault]:
    """The faults of `values` by all rules. A rule about a setting in `broken`, which has its default, is left out."""
    for rule, about in _RULES:
        if not any(name in broken for name in about):
            yield from rule(values, given)


def _check_issuer(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    if not values.issuer:
        yield "issuer", "is missing: the `iss` of the tokens to accept, as https://issuer.example"
    elif len(values.issuer) > 1 and not values.discovery:
        yield "issuer", f"names several issuers, which takes {VARIABLE_PREFIX}DISCOVERY=true: each has its own keys"


def _check_tenants(values: SettingsFields, given: Collection[str]) -> Iterator[Fault]:
    with_braces = [issuer for issuer in values.issuer if "{" in issuer or "}" in issuer]
    if not with_braces:
        if "tenants" in given:
            yield (
                "tenants",
                f"is for an issuer with a placeholder: write it into {VARIABLE_PREFIX}ISSUER, or leave this out",
            )
        return
    if len(values.issuer) > 1:
        yield "issuer", "has a placeholder next to other issuers: it stands alone, and in code issuers= takes others"
    if not values.discovery:
        yield "issuer", f"has a placeholder, which takes {VARIABLE_PREFIX}DISCOVERY=true: each tenant has its own keys"
    if values.tenants == ():
        yield "tenants", f"is missing: the tenants that {VARIABLE_PREFIX}ISSUER stands for, or * for any of its host"
    try:
        IssuerPattern.parse(with_braces[0], values.tenants)
    except ValueError as fault:
        yield "issuer", f"{fault}, and not {with_braces[0]!r}"


def _check_audience(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    if values.audience is not None and not values.audience:
        yield "audience", "is missing: the name of this service in `aud`, or * to check none"
    elif values.audience is not None and "*" in values.audience:
        yield "audience", "has * next to others: it stands alone, and then no audience is checked"


def _check_discovery(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    for issuer in values.issuer if values.discovery else ():
        try:
            check_issuer(issuer)
        except ValueError as fault:
            yield "issuer", f"{fault}, for {VARIABLE_PREFIX}DISCOVERY to find its keys: {issuer!r} is none"


def _check_jwks_url(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    if values.jwks_url is not None:
        try:
            check_url(values.jwks_url, LOOPBACK.union(values.jwks_allow_http))
        except ValueError as fault:
            yield "jwks_url", f"{fault}, or of a host that {VARIABLE_PREFIX}JWKS_ALLOW_HTTP names"


def _check_jwks_token(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    if values.jwks_token_file is not None and not values.is_remote:
        yield (
            "jwks_token_file",
            "is sent where keys are fetched: ASGI_JWT_JWKS_URL or ASGI_JWT_DISCOVERY is missing",
        )
    elif values.jwks_token_file is not None and len(values.issuer) > 1:
        yield "jwks_token_file", "is the secret of one issuer, and several would get it: give each settings of its own"


def _sources_of_keys(values: SettingsFields, given: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in _KEYS if name in given and (name != "discovery" or values.discovery))


def _check_one_source_of_keys(values: SettingsFields, given: Collection[str]) -> Iterator[Fault]:
    sources = _sources_of_keys(values, given)
    if len(sources) > 1:
        yield sources, f"are {'both' if len(sources) == 2 else 'all'} set: keep one"


def _check_some_source_of_keys(values: SettingsFields, given: Collection[str]) -> Iterator[Fault]:
    if not _sources_of_keys(values, given) and values.introspection_url is None:
        first, *others = (*_KEYS, "introspection_url")
        listed = ", ".join(f"{VARIABLE_PREFIX}{name.upper()}" for name in others)
        yield first, f"is missing, or one of {listed}: the keys to verify with, as asgi-jwt keygen makes them"


def _check_introspection(values: SettingsFields, given: Collection[str]) -> Iterator[Fault]:
    missing = [name for name in _INTROSPECTION if name not in given]
    for name in missing if len(missing) < len(_INTROSPECTION) else ():
        (first, *_) = (other for other in _INTROSPECTION if other in given)
        yield name, f"is missing: introspection takes it beside {VARIABLE_PREFIX}{first.upper()}"
    if values.introspection_url is not None and any("{" in issuer for issuer in values.issuer):
        yield "introspection_url", "asks one server, and the placeholder of ASGI_JWT_ISSUER stands for several issuers"


def _check_algorithms(values: SettingsFields, given: Collection[str]) -> Iterator[Fault]:
    if len(_sources_of_keys(values, given)) == 1:
        yield from _check_remote_algorithms(values) if values.is_remote else _check_own_keys(values)


def _check_remote_algorithms(values: SettingsFields) -> Iterator[Fault]:
    for name in filter(SYMMETRIC.__contains__, values.algorithms):
        yield "algorithms", f"names {name}, for which no remote issuer has a key: it would be no secret"


def _check_own_keys(values: SettingsFields) -> Iterator[Fault]:
    keys = values.key_set
    if len({name in SYMMETRIC for key in keys for name in key.algorithms}) > 1:
        # With both kinds an attacker might have a public key used as a secret (RFC 8725 section 2.1).
        yield "keys", "holds a symmetric key next to asymmetric ones: keep them apart"
    for name in same_algorithms(values.algorithms):
        if not any(name in key.algorithms for key in keys if key.verifies):
            wanted = f": {name} needs a secret of {int(name[2:]) // 8} bytes at least" if name in SYMMETRIC else ""
            yield "algorithms", f"names {name}, for which no key is made{wanted if values.secret else ''}"


def _check_kinds_apart(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    if values.secret or values.keys:
        refreshing = {key.sign("HS256", b"") for key in values.refresh_keys}
        if any("HS256" in key.algorithms and key.sign("HS256", b"") in refreshing for key in values.key_set):
            yield "refresh_secret", "is a key of access tokens too: one kind could pass for the other"


def _check_cookies(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    for name, cookie, path in (
        ("cookie_name", values.cookie_name, values.cookie_path),
        ("access_cookie", values.access_cookie or "", "/"),
    ):
        if cookie.lower().startswith("__host-") and path != "/":
            yield name, f"begins with __Host-, which asks for {VARIABLE_PREFIX}COOKIE_PATH=/: use __Secure-"
    if values.access_cookie == values.cookie_name:
        yield "access_cookie", "is the name of the refresh token's cookie too: give it its own"


def _check_revocation_ttl(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    if values.revocation_ttl < values.access_ttl:
        yield (
            "revocation_ttl",
            f"has to be {VARIABLE_PREFIX}ACCESS_TTL at least, or access tokens would outlive their revocation",
        )


def _check_staleness(values: SettingsFields, _: Collection[str]) -> Iterator[Fault]:
    if values.revocation_max_staleness < values.revocation_interval:
        yield "revocation_max_staleness", f"has to be {VARIABLE_PREFIX}REVOCATION_INTERVAL at least"


_RULES: tuple[tuple[Rule, tuple[str, ...]], ...] = (
    (_check_issuer, ("issuer",)),
    (_check_tenants, ("issuer", "tenants", "discovery")),
    (_check_audience, ("audience", "resource")),
    (_check_discovery, ("issuer",)),
    (_check_jwks_url, ("jwks_url", "jwks_allow_http")),
    (_check_jwks_token, ("jwks_token", "issuer")),
    (_check_one_source_of_keys, ()),
    (_check_some_source_of_keys, (*_KEYS, "introspection_url")),
    (_check_introspection, ("issuer", *_INTROSPECTION)),
    (_check_algorithms, _KEYS),
    (_check_kinds_apart, ("secret", "keys", "refresh_secret")),
    (_check_cookies, ("cookie_name", "cookie_path", "access_cookie")),
    (_check_revocation_ttl, ("access_ttl", "revocation_ttl")),
    (_check_staleness, ("revocation_interval", "revocation_max_staleness")),
)
"""Each rule, with the settings that it is about."""
