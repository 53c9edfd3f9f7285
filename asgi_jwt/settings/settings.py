"""Settings: every `ASGI_JWT_*` variable, read once. All faults are reported together."""

import os
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings.fields import FIELDS, SettingsFields
from asgi_jwt.settings.keywords import SettingsKeywords
from asgi_jwt.settings.rules import find_faults, with_dependent_defaults
from asgi_jwt.settings.source import Fault, Faults, override, read_source, read_variables
from asgi_jwt.tokens.algorithms import ASYMMETRIC, same_algorithms
from asgi_jwt.tokens.claims import TokenPolicy


def given_variables() -> dict[str, str]:
    """The text of each `ASGI_JWT_*` variable of the process, by its setting's name."""
    return read_variables(os.environ)


class Settings(SettingsFields):
    """The settings for verifying and issuing tokens. `asgi-jwt docs settings` describes each of them.

    `Settings(issuer=..., audience=..., secret=...)` takes each variable as a keyword, which is its lower-case name. A
    value is the text that the variable would have, or the value itself. Durations are in seconds.
    `Settings.from_env()` reads the variables `ASGI_JWT_*`.

    Raises `ConfigurationError` with all faults. Neither the error nor the repr shows a secret.
    """

    def __init__(self, *, store: str | None = None, **settings: Unpack[SettingsKeywords]) -> None:
        self._source, found = read_source({**settings, "store": store}, FIELDS)
        given = {name: value for name, value in self._source.given.items() if value is not None}
        read, broken = _read(given)
        faults = Faults(self._source, [*found, *broken])
        values = with_dependent_defaults(SettingsFields(**read), given)
        faults.add(find_faults(values, given, faults.broken))
        faults.raise_any()
        super().__init__(**vars(values))

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        store: str | None = None,
        **settings: Unpack[SettingsKeywords],
    ) -> "Settings":
        """The settings in `environ`, overridden by keywords. None: the environment of the process.

        An empty variable counts as absent. Raises `ConfigurationError`.
        """
        given = {**settings, "store": store} if store is not None else settings
        return cls(**override(read_variables(os.environ if environ is None else environ), given))

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of each setting that was read from a file."""
        return self._source.files

    def variable(self, name: str) -> str:
        """The variable of the setting `name`, with `_FILE` if the setting was read from a file."""
        return self._source.variable(name)

    def read_again(self, name: str) -> "Settings":
        """These settings, with the present content of the file of `name`. Raises `ConfigurationError`."""
        return Settings(**self._source.naming_file(name))

    @property
    def policy(self) -> TokenPolicy:
        """The rules for an access token of the first issuer."""
        # Each remote key limits the algorithms further when it is fetched. Without keys none verifies.
        made_for = self.key_set.algorithms if self.key_set else ASYMMETRIC
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
        """The rules for access tokens of each issuer."""
        policy = self.policy
        return tuple(replace(policy, issuer=issuer) for issuer in self.issuer)

    @property
    def source_of_keys(self) -> Hashable:
        """Equal for two settings that take the keys of access tokens from the same place, for the same algorithms."""
        keys = tuple(key.identity for key in self.key_set)
        remote = (self.jwks_url, self.jwks_allow_http, self.jwks_token_file, self.discovery)
        return (*remote, self.algorithms, self.files.get("keys"), keys)

    @property
    def refresh_policy(self) -> TokenPolicy:
        """The rules for a refresh token. No access token meets them."""
        return TokenPolicy(
            issuer=self.issuer[0],
            # Another service with this issuer and store has sessions of its own, and another audience.
            audience=self.audience,
            algorithms=frozenset({"HS256"}),
            # The session's record decides about its end, so that clocks that differ log no user out.
            leeway=300,
            checks_iat=False,
            type=("type", "refresh"),
            typ=frozenset({"rt+jwt"}),
            require_typ=True,
            required_claims=(("sid", None), ("gen", None), ("br", None)),
            max_token_size=self.max_token_size,
        )

    def __repr__(self) -> str:
        shown = (f"{each.name}={getattr(self, each.name)!r}" for each in FIELDS.values() if not each.metadata["secret"])
        return f"Settings({', '.join(shown)})"


def _read(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The values of the settings in `given`, and the faults of those that can't be read."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, field in FIELDS.items():
        if name in given:
            try:
                values[name] = field.metadata["read"](given[name])
            except ConfigurationError as fault:
                faults += [(name, sentence) for sentence in fault.faults]
            except ValueError as fault:
                faults.append((name, str(fault)))
    return values, faults
