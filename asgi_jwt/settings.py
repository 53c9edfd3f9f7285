"""Every `ASGI_JWT_*` variable, read once; all faults are reported together."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Unpack

from asgi_jwt import key_values, values
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.keywords import SettingsKeywords
from asgi_jwt.tokens.algorithms import ASYMMETRIC, SYMMETRIC, same_algorithms
from asgi_jwt.tokens.claims import DEFAULT_TYP, TokenPolicy
from asgi_jwt.tokens.discovery import check_issuer
from asgi_jwt.tokens.keys import Key, KeySet

PREFIX = "ASGI_JWT_"

# Kubernetes injects these for a Service called asgi-jwt.
_INJECTED = re.compile(r"PORT(_.*)?|SERVICE_(HOST|PORT(_.*)?)")

_KEYS = ("secret", "keys", "jwks_url", "discovery")
_DAY = 86400
_YEAR = 366 * _DAY

MAX_LEEWAY = 300
"""Seconds: no service takes a token for longer past its end."""
_DEFAULT_STORE = "sqlite:///asgi-jwt.db"
# Browsers compare it without regard to case (RFC 6265bis, the storage model).
_COOKIE_PREFIX = re.compile(r"(?i:__(Secure|Host)-)")


def _setting(read: Callable[[Any], Any], default: Any, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"read": read, "secret": secret})


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Settings:
    """How tokens are verified and issued. The README's table describes each setting.

    `Settings(issuer=..., audience=..., secret=...)` takes each variable as a keyword by its lower-case name, as the
    text it would have in the environment or as the value itself; durations in seconds. `Settings.from_env()` reads
    `ASGI_JWT_*`. Raises `ConfigurationError`, which lists every fault; no secret shows in it or in the repr.
    """

    issuer: tuple[str, ...] = _setting(values.texts, ())
    audience: tuple[str, ...] | None = _setting(values.audience, ())
    """None: not checked (`*`)."""
    secret: str | bytes | None = _setting(key_values.secret, None, secret=True)
    keys: KeySet | None = _setting(key_values.keys, None, secret=True)
    jwks_url: str | None = _setting(key_values.jwks_url, None, secret=True)
    discovery: bool = _setting(values.flag, False)
    algorithms: tuple[str, ...] = _setting(key_values.algorithms, ())
    leeway: float = _setting(values.duration(most=MAX_LEEWAY), 30.0)
    type: tuple[str, str] | None = _setting(values.type_claim, ("type", "access"))
    typ: frozenset[str] = _setting(key_values.typ, DEFAULT_TYP)
    require_typ: bool = _setting(values.flag, False)
    required_claims: tuple[tuple[str, str | None], ...] = _setting(values.claims, ())
    audience_claim: str = _setting(values.text, "aud")
    scope_claim: str = _setting(values.text, "scope")
    roles_claim: str = _setting(values.text, "roles")
    max_token_size: int = _setting(values.count(least=256), 8192)
    cache_size: int = _setting(values.count(least=0), 4096)
    realm: str = _setting(values.quotable, "api")
    resource: str | None = _setting(values.resource, None)
    public_paths: tuple[str, ...] = _setting(values.public_paths, ())
    token_sources: tuple[str, ...] = _setting(values.token_sources, ("header",))
    trusted_origins: tuple[str, ...] = _setting(values.origins, ())
    access_ttl: float = _setting(values.duration(least=1, most=3600), 900.0)
    store: str | None = _setting(values.text, None, secret=True)
    refresh_secret: tuple[str | bytes, ...] | KeySet = _setting(key_values.refresh_secrets, (), secret=True)
    refresh_ttl: float = _setting(values.duration(least=1, most=_YEAR), 7 * 86400.0)
    session_ttl: float = _setting(values.duration(least=1, most=_YEAR), 30 * 86400.0)
    grace: float = _setting(values.duration(most=300), 30.0)
    recovery: float = _setting(values.duration(most=30 * 86400), 86400.0)
    cookie_name: str = _setting(values.cookie_name, "__Secure-refresh_token")
    cookie_path: str | None = _setting(values.cookie_path, None)
    cookie_secure: bool = _setting(values.flag, True)
    access_cookie: str | None = _setting(values.cookie_name, None)
    revocation_interval: float = _setting(values.duration(most=60), 1.0)
    revocation_max_staleness: float = _setting(values.duration(least=0.1, most=3600), 5.0)
    revocation_outage: Literal["closed", "open"] = _setting(values.outage, "closed")
    revocation_ttl: float = _setting(values.duration(least=1, most=_YEAR), 3600.0)

    def __init__(self, *, store: str | None = None, **settings: Unpack[SettingsKeywords]) -> None:
        files: dict[str, Path] = {}
        faults = _Faults(files)
        given = _resolve_files({**settings, "store": store}, files, faults)
        object.__setattr__(self, "_read_from", (given, files))
        known = {each.name: each for each in fields(self)}
        for name in given.keys() - known.keys():
            faults.add_unknown(name, known)
        for name, each in known.items():
            value = each.default
            if given.get(name) is not None:
                try:
                    value = each.metadata["read"](given[name])
                except ConfigurationError as fault:
                    faults.add(name, *fault.faults)
                except ValueError as fault:
                    faults.add(name, f"{fault}")
            object.__setattr__(self, name, value)
        self._settle_audience()
        self._settle_type(given)
        self._settle_sessions()
        self._check(faults, given)
        self._check_sessions(faults)
        faults.raise_any()

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        store: str | None = None,
        **settings: Unpack[SettingsKeywords],
    ) -> "Settings":
        """The settings of `environ` (None: the process's), overridden by the keywords.

        A variable that is empty counts as absent. Raises `ConfigurationError`.
        """
        source = os.environ if environ is None else environ
        read: dict[str, Any] = {}
        for variable, value in source.items():
            name = variable.removeprefix(PREFIX)
            if name != variable and value and not _INJECTED.fullmatch(name):
                read[name.lower()] = value
        given: dict[str, Any] = {**settings, "store": store} if store is not None else dict(settings)
        for name in given:
            read.pop(name.removesuffix("_file"), None)
            read.pop(name.removesuffix("_file") + "_file", None)
        return cls(**{**read, **given})

    @property
    def files(self) -> Mapping[str, Path]:
        """Which of the settings were read from a file, and from which one."""
        read_from: tuple[Mapping[str, Any], Mapping[str, Path]] = vars(self)["_read_from"]
        return read_from[1]

    def variable(self, name: str) -> str:
        """The variable that gave the setting `name`, or would."""
        return _variable(name, self.files)

    def read_again(self, name: str) -> "Settings":
        """These settings with what the file of `name` holds now. Raises `ConfigurationError`, as at the start."""
        given, files = vars(self)["_read_from"]
        return Settings(**{**given, name: None, f"{name}_file": files[name]})

    def _settle_audience(self) -> None:
        if not self.audience and self.audience is not None:
            object.__setattr__(self, "audience", (self.resource,) if self.resource else ())

    def _settle_type(self, given: Mapping[str, Any]) -> None:
        if self.is_remote and given.get("type") is None:
            # Hardly any other issuer's tokens have such a claim.
            object.__setattr__(self, "type", None)

    def _settle_sessions(self) -> None:
        if self.refresh_secret and self.store is None:
            object.__setattr__(self, "store", _DEFAULT_STORE)
        if not self.cookie_secure:
            # A browser takes the prefixes for secure cookies alone (RFC 6265bis section 4.1.3).
            bare = {"cookie_name": self.cookie_name, "access_cookie": self.access_cookie}
            for name, cookie in bare.items():
                object.__setattr__(self, name, cookie and _COOKIE_PREFIX.sub("", cookie, count=1))
            sources = tuple(re.sub(f"^cookie:{_COOKIE_PREFIX.pattern}", "cookie:", s) for s in self.token_sources)
            object.__setattr__(self, "token_sources", sources)

    def _check(self, faults: "_Faults", given: Mapping[str, Any]) -> None:
        if not self.issuer:
            faults.add("issuer", "is missing: the `iss` of the tokens to accept, as https://issuer.example")
        elif len(self.issuer) > 1 and not self.discovery:
            faults.add("issuer", "names several issuers, which takes ASGI_JWT_DISCOVERY=true: each has its own keys")
        if self.audience is not None and not self.audience:
            faults.add("audience", "is missing: the name of this service in `aud`, or * to check none")
        elif self.audience is not None and "*" in self.audience:
            faults.add("audience", "has * next to others: it stands alone, and then no audience is checked")
        if self.discovery:
            self._check_discovery(faults)
        given_keys = [name for name in _KEYS if given.get(name) is not None and (name != "discovery" or self.discovery)]
        if len(given_keys) == 1 and not faults.any_of(*_KEYS):
            self._check_keys(faults)
        elif len(given_keys) > 1:
            *first, last = map(self.variable, given_keys)
            both = "both" if len(given_keys) == 2 else "all"
            faults.add_whole(_KEYS[0], f"{', '.join(first)} and {last} are {both} set: keep one")
        elif not faults.any_of(*_KEYS):
            others = ", ".join(f"{PREFIX}{name.upper()}" for name in _KEYS[1:])
            faults.add(
                _KEYS[0],
                f"is missing, or one of {others}: the keys to verify with, as asgi-jwt keygen makes them",
            )

    def _check_discovery(self, faults: "_Faults") -> None:
        for issuer in self.issuer:
            try:
                check_issuer(issuer)
            except ValueError as fault:
                faults.add("issuer", f"{fault}, for ASGI_JWT_DISCOVERY to find its keys: {issuer!r} is none")

    def _check_sessions(self, faults: "_Faults") -> None:
        if not faults.any_of("secret", "keys", "refresh_secret") and (self.secret or self.keys):
            refreshing = {key.sign("HS256", b"") for key in self.refresh_keys.keys}
            if any("HS256" in key.algorithms and key.sign("HS256", b"") in refreshing for key in self.key_set.keys):
                faults.add("refresh_secret", "is a key of access tokens too: one kind could pass for the other")
        for name, cookie, path in (
            ("cookie_name", self.cookie_name, self.cookie_path),
            ("access_cookie", self.access_cookie or "", "/"),
        ):
            if cookie.lower().startswith("__host-") and path != "/":
                faults.add(name, "begins with __Host-, which asks for ASGI_JWT_COOKIE_PATH=/: use __Secure-")
        if self.revocation_ttl < self.access_ttl:
            faults.add("revocation_ttl", "has to be ASGI_JWT_ACCESS_TTL at least: access tokens outlive no revocation")
        if self.revocation_max_staleness < self.revocation_interval:
            faults.add("revocation_max_staleness", "has to be ASGI_JWT_REVOCATION_INTERVAL at least")
        if self.access_cookie == self.cookie_name:
            faults.add("access_cookie", "is the name of the refresh token's cookie too: give it its own")

    def _check_keys(self, faults: "_Faults") -> None:
        if self.is_remote:
            for name in filter(SYMMETRIC.__contains__, self.algorithms):
                faults.add("algorithms", f"names {name}, for which no remote issuer has a key: it would be no secret")
            return
        keys = self.key_set
        if len({name in SYMMETRIC for key in keys.keys for name in key.algorithms}) > 1:
            # With both, a public key could be taken for a secret (RFC 8725 section 2.1).
            faults.add("keys", "holds a symmetric key next to asymmetric ones: keep them apart")
        for name in same_algorithms(self.algorithms):
            if not any(name in key.algorithms for key in keys.keys if key.verifies):
                wanted = f": {name} needs a secret of {int(name[2:]) // 8} bytes at least" if name in SYMMETRIC else ""
                faults.add("algorithms", f"names {name}, for which no key is made{wanted if self.secret else ''}")

    @property
    def is_remote(self) -> bool:
        """Whether the keys are those of remote issuers: with `jwks_url` or `discovery`."""
        return self.discovery or self.jwks_url is not None

    @property
    def key_set(self) -> KeySet:
        """The keys to verify and to sign with, from `keys` or `secret`; none where they are a remote issuer's."""
        if self.is_remote:
            return KeySet(())
        return self.keys if self.keys is not None else KeySet.from_secret(self.secret or "")

    @property
    def policy(self) -> TokenPolicy:
        """What a token of the first issuer has to meet."""
        # A remote key is good for what it is made for, which shows when it is there.
        made_for = ASYMMETRIC if self.is_remote else self.key_set.algorithms
        return TokenPolicy(
            issuer=self.issuer[0],
            audience=self.audience,
            algorithms=frozenset(same_algorithms(self.algorithms) or made_for),
            leeway=self.leeway,
            type=self.type,
            typ=self.typ,
            require_typ=self.require_typ,
            required_claims=self.required_claims,
            audience_claim=self.audience_claim,
            scope_claim=self.scope_claim,
            roles_claim=self.roles_claim,
            max_token_size=self.max_token_size,
        )

    @property
    def policies(self) -> tuple[TokenPolicy, ...]:
        """The same for each issuer."""
        policy = self.policy
        return tuple(replace(policy, issuer=issuer) for issuer in self.issuer)

    @property
    def refresh_keys(self) -> KeySet:
        """The keys of refresh tokens: the first signs, all verify."""
        if isinstance(self.refresh_secret, KeySet):
            return self.refresh_secret
        return KeySet([Key.from_secret(secret) for secret in self.refresh_secret])

    @property
    def refresh_policy(self) -> TokenPolicy:
        """What a refresh token has to meet: nothing that an access token meets."""
        return TokenPolicy(
            issuer=self.issuer[0],
            # Another service of the same issuer and store has sessions of its own.
            audience=self.audience,
            algorithms=frozenset({"HS256"}),
            # The session's record decides when it is over; clocks that differ log no one out.
            leeway=300,
            type=("type", "refresh"),
            typ=frozenset({"rt+jwt"}),
            require_typ=True,
            required_claims=(("sid", None), ("gen", None), ("br", None)),
            max_token_size=self.max_token_size,
        )

    def __repr__(self) -> str:
        shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if not each.metadata["secret"])
        return f"Settings({', '.join(shown)})"


def _variable(name: str, files: Mapping[str, Path]) -> str:
    return f"{PREFIX}{name.upper()}{'_FILE' if name in files else ''}"


class _Faults:
    """What is wrong, each with the variable that was set: `files` are the settings that come from one."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._found: dict[str, list[str]] = {}

    def add(self, name: str, *faults: str) -> None:
        self.add_whole(name, *(f"{_variable(name, self._files)} {fault}" for fault in faults))

    def add_whole(self, name: str, *faults: str) -> None:
        self._found.setdefault(name, []).extend(faults)

    def add_unknown(self, name: str, known: Iterable[str]) -> None:
        near = get_close_matches(name, [*known, *(f"{each}_file" for each in known)], n=1)
        self.add(name, f"is unknown: did you mean {PREFIX}{near[0].upper()}?" if near else "is unknown: remove it")

    def any_of(self, *names: str) -> bool:
        return any(name in self._found for name in names)

    def raise_any(self) -> None:
        if self._found:
            raise ConfigurationError([fault for faults in self._found.values() for fault in faults])


def _resolve_files(given: dict[str, Any], files: dict[str, Path], faults: _Faults) -> dict[str, Any]:
    """`given`, where `<name>_file` is replaced by the content of the file it names as `<name>`; `files` gets its path.

    An absolute path: a process may change its directory before the file is read again.
    """
    known = {each.name for each in fields(Settings)}
    for name in [name for name in given if name.endswith("_file") and name.removesuffix("_file") in known]:
        target, path = name.removesuffix("_file"), given.pop(name)
        if path is None:
            continue
        if given.get(target) is not None:
            faults.add(target, f"and {PREFIX}{name.upper()} are both set: keep one")
            continue
        try:
            file = Path(path).absolute()
            content = file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError, TypeError) as fault:
            # The path isn't shown: one who puts the secret itself into NAME_FILE would find it in the log.
            why = getattr(fault, "strerror", None) or "it is no UTF-8 text, or no path"
            faults.add(name, f"names a file that can't be read: {why}")
            faults.add(target)
            continue
        files[target] = file
        if not content.strip():
            # As when a secret failed to be mounted: it is not taken for an absent setting.
            faults.add(target, "names a file that is empty: write the value into it, or leave the variable out")
            continue
        given[target] = content
    return given
