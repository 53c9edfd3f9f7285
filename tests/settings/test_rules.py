"""The rules between settings, each handed values and the names that were given."""

from typing import Any

import pytest

from asgi_jwt.settings.fields import SettingsFields
from asgi_jwt.settings.rules import find_faults, with_dependent_defaults

WHOLE: dict[str, Any] = {"issuer": ("i",), "audience": ("a",), "secret": "s" * 32}


def faults(given: dict[str, Any], broken: set[str]) -> list[str | tuple[str, ...]]:
    return [about for about, _ in find_faults(SettingsFields(**given), given, broken)]


def test_values_that_follow_from_others() -> None:
    """The resource is the audience, a remote issuer's tokens need no type, and sessions need a store."""
    given: dict[str, Any] = {"issuer": ("i",), "jwks_url": "https://i.example/jwks", "resource": "https://a.example"}
    settled = with_dependent_defaults(SettingsFields(**given, refresh_secret=("r" * 32,)), given)
    assert (settled.audience, settled.type) == (("https://a.example",), None)
    assert settled.store == "sqlite:///asgi-jwt.db"
    own = SettingsFields(**WHOLE)
    assert with_dependent_defaults(own, WHOLE) is own


def test_a_rule_names_the_settings_it_is_about() -> None:
    """A fault is one setting's or several settings'; whole settings have none."""
    assert faults(WHOLE, set()) == []
    assert faults({**WHOLE, "jwks_url": "https://i.example/jwks"}, set()) == [("secret", "jwks_url")]
    assert faults({}, set()) == ["issuer", "audience", "secret"]


@pytest.mark.parametrize(
    ("given", "broken", "found"),
    [
        ({**WHOLE, "issuer": ()}, {"issuer"}, []),
        ({**WHOLE, "audience": ()}, {"resource"}, []),
        ({"issuer": ("i",), "audience": ("a",)}, {"jwks_url"}, []),
        ({**WHOLE, "access_ttl": 7200.0}, {"access_ttl"}, []),
        ({**WHOLE, "access_ttl": 7200.0}, {"leeway"}, ["revocation_ttl"]),
    ],
)
def test_broken_settings_are_not_blamed_twice(given: dict[str, Any], broken: set[str], found: list[str]) -> None:
    """A setting whose value can't be read has a fault already: no rule is asked about its default."""
    assert faults(given, broken) == found
