"""The settings of remote issuers: where their keys are, and what differs from keys of one's own."""

from itertools import combinations
from typing import Any

import pytest
from support.tokens import SECRET, jwks

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.algorithms import ASYMMETRIC

A, B = "https://a.example", "https://b.example/tenant/"
URL = "https://a.example/jwks"
PATTERN = "https://a.example/realms/{realm}"


def read(**variables: str) -> Settings:
    given = {"ISSUER": A, "AUDIENCE": "api", **variables}
    return Settings.from_env({f"ASGI_JWT_{name}": value for name, value in given.items()})


@pytest.mark.parametrize("source", [{"JWKS_URL": URL}, {"DISCOVERY": "true"}])
def test_a_remote_issuer(source: dict[str, str]) -> None:
    """With a URL or discovery, no key is here, and every algorithm is allowed for which a key can be public."""
    settings = read(**source)
    assert settings.is_remote
    assert tuple(settings.key_set) == ()
    assert (settings.jwks_url, settings.discovery) == (source.get("JWKS_URL"), "DISCOVERY" in source)
    assert settings.policy.algorithms == ASYMMETRIC
    assert read(**source, ALGORITHMS="RS256,EdDSA").policy.algorithms == {"RS256", "EdDSA", "Ed25519"}


@pytest.mark.parametrize("source", [{"JWKS_URL": URL}, {"DISCOVERY": "true"}])
def test_the_type_check_is_off_until_it_is_set(source: dict[str, str]) -> None:
    """Okta, Entra, Auth0 and Google send no type claim; who names one gets the check, be it one's own default."""
    assert read(**source).policy.type is None
    assert read(**source, TYPE="type=access").policy.type == ("type", "access")
    assert read(**source, TYPE="token_use=access").policy.type == ("token_use", "access")
    assert read(**source, TYPE="*").policy.type is None
    assert read(SECRET=SECRET, DISCOVERY="false").policy.type == ("type", "access")


def test_several_issuers() -> None:
    """With discovery there may be several, which share all but their names; each is exactly as it was written."""
    settings = read(ISSUER=f"{A}, {B}", DISCOVERY="true", AUDIENCE="api,other")
    assert settings.issuer == (A, B)
    assert [policy.issuer for policy in settings.policies] == [A, B]
    assert {policy.audience for policy in settings.policies} == {("api", "other")}
    assert settings.policies[0] == settings.policy


def test_tenants() -> None:
    """A placeholder of any name stands for the listed tenants, or with `*` by name alone for any."""
    settings = read(ISSUER="https://login.example/{tenant-id}/v2.0", DISCOVERY="true", TENANTS="a, b,A")
    assert settings.tenants == ("a", "b", "A")
    assert settings.pattern is not None
    assert settings.pattern.tenants == frozenset(settings.tenants)
    assert settings.policies == (settings.policy,)
    whole = read(ISSUER="https://a.example/{_}", DISCOVERY="true", TENANTS="*")
    assert whole.pattern is not None
    assert (whole.tenants, whole.pattern.tenants) == (None, None)
    assert read(DISCOVERY="true").pattern is None


def test_discovery_switched_off_counts_as_absent() -> None:
    """`DISCOVERY=false` beside a secret or a URL is no second source of keys."""
    assert not read(DISCOVERY="false", SECRET=SECRET).is_remote
    assert read(DISCOVERY="no", JWKS_URL=URL).jwks_url == URL


SOURCES: dict[str, Any] = {"secret": SECRET, "keys": jwks(), "jwks_url": URL, "discovery": True}
MISCONFIGURED: dict[str, tuple[dict[str, Any], str]] = {
    "no keys": ({"discovery": False}, "ASGI_JWT_SECRET is missing, or one of"),
    **{
        f"{one} and {other}": (
            {one: SOURCES[one], other: SOURCES[other]},
            f"- ASGI_JWT_{one.upper()} and ASGI_JWT_{other.upper()} are both set",
        )
        for one, other in combinations(SOURCES, 2)
    },
    "plain http": ({"jwks_url": "http://a.example/jwks"}, "ASGI_JWT_JWKS_URL has to be an https URL"),
    "no URL": ({"jwks_url": "a.example"}, "ASGI_JWT_JWKS_URL has to be an https URL"),
    "no text": ({"jwks_url": 7}, "ASGI_JWT_JWKS_URL has to be a text"),
    "no flag": ({"discovery": "maybe"}, "ASGI_JWT_DISCOVERY has to be true or false"),
    "several issuers and a URL": (
        {"issuer": [A, B], "jwks_url": URL},
        "ASGI_JWT_ISSUER names several .*DISCOVERY=true",
    ),
    "several issuers and a secret": ({"issuer": [A, B], "secret": SECRET}, "ASGI_JWT_ISSUER names several issuers"),
    "an issuer to discover that is no URL": ({"issuer": [A, "b"], "discovery": True}, "ASGI_JWT_ISSUER .*'b' is none"),
    "an issuer with a query": ({"issuer": A + "?a=b", "discovery": True}, "ASGI_JWT_ISSUER .* URL without query"),
    **{
        f"the issuer {issuer}": (
            {"issuer": issuer, "discovery": True, "tenants": "a"},
            "ASGI_JWT_ISSUER has to have one placeholder as a whole segment of its path",
        )
        for issuer in (
            *("https://a.example/{a}/{b}", "https://a.example/x{t}", "https://a.example/{t}x", "https://{t}.example/"),
            *(
                "https://{t}",
                "https://{t}/x",
                "https://a.example/{}",
                "https://a.example/{t",
                "https://a.example/{a.b}",
            ),
            *("https://a.example/t}", "https://a.example/{{t}}", "https://a.example{t}"),
        )
    },
    "a placeholder in a query": (
        {"issuer": "https://a.example/?x=/{t}", "discovery": True, "tenants": "a"},
        "ASGI_JWT_ISSUER has to be a URL without query",
    ),
    "a placeholder and a URL": (
        {"issuer": PATTERN, "jwks_url": URL, "tenants": "a"},
        "ASGI_JWT_ISSUER has a placeholder, which takes ASGI_JWT_DISCOVERY=true",
    ),
    "a placeholder and other issuers": (
        {"issuer": [PATTERN, A], "discovery": True, "tenants": "a"},
        "ASGI_JWT_ISSUER has a placeholder next to other issuers",
    ),
    "a placeholder over plain http": (
        {"issuer": "http://a.example/{t}", "discovery": True, "tenants": "a"},
        "ASGI_JWT_ISSUER has to be an https URL",
    ),
    "a placeholder alone": ({"issuer": PATTERN, "discovery": True}, "ASGI_JWT_TENANTS is missing"),
    "no tenant": ({"issuer": PATTERN, "discovery": True, "tenants": []}, "ASGI_JWT_TENANTS is missing"),
    "tenants alone": ({"discovery": True, "tenants": "a"}, "ASGI_JWT_TENANTS is for an issuer with a placeholder"),
    **{
        f"the tenant {tenant!r}": (
            {"issuer": PATTERN, "discovery": True, "tenants": ["a", tenant]},
            "ASGI_JWT_TENANTS has to hold names of letters, digits",
        )
        for tenant in ("*", "..", "a/b", "a b", "%61", "\u0661", "a" * 101)
    },
    "a symmetric algorithm": ({"jwks_url": URL, "algorithms": "RS256,HS256"}, "ASGI_JWT_ALGORITHMS names HS256, for"),
}


@pytest.mark.parametrize(("settings", "told"), MISCONFIGURED.values(), ids=MISCONFIGURED)
def test_each_misconfiguration_is_refused(settings: dict[str, Any], told: str) -> None:
    """Settings that can't be meant so are refused at construction by one fault that names the variable."""
    with pytest.raises(ConfigurationError, match=told) as refused:
        Settings(**{"issuer": A, "audience": "api", **settings})
    assert len(refused.value.faults) == 1


def test_no_code_shows_in_the_repr() -> None:
    """Some issuers have a code in the URL of their keys."""
    settings = read(JWKS_URL=f"{URL}?code=hunter2")
    assert settings.jwks_url == f"{URL}?code=hunter2"
    assert "hunter2" not in repr(settings)


def test_any_name_may_be_a_remote_issuers_whose_keys_have_a_url() -> None:
    """Only discovery needs an issuer that is a URL."""
    assert read(ISSUER="issuer", JWKS_URL=URL).policy.issuer == "issuer"
