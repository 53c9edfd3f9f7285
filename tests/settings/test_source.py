"""Where values come from."""

from pathlib import Path

import pytest

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings.fields import FIELDS
from asgi_jwt.settings.source import Faults, Source, override, read_source, read_variables, suggest


def test_variables_are_ours_by_their_prefix() -> None:
    """Variables with the prefix are read by the rest of their name; empty ones and those of Kubernetes are not."""
    environ = {"ASGI_JWT_ISSUER": "i", "ASGI_JWT_REALM": "", "ASGI_JWT_SERVICE_HOST": "10.0.0.1", "OTHER": "x"}
    assert read_variables(environ) == {"issuer": "i"}


def test_keywords_stand_above_variables() -> None:
    """A keyword replaces its variable, whichever of both names a file."""
    read = {"secret_file": "/s", "store": "x", "realm": "env"}
    assert override(read, {"secret": "s", "store_file": "/y"}) == {"realm": "env", "secret": "s", "store_file": "/y"}


def test_files_stand_for_their_content(tmp_path: Path) -> None:
    """The content of a file is the value of its setting, and the file can be named once more."""
    (tmp_path / "realm").write_text("orders\n")
    source, faults = read_source({"realm_file": str(tmp_path / "realm"), "leeway": 3}, ["realm", "leeway"])
    assert (source.given, source.files, faults) == (
        {"realm": "orders", "leeway": 3},
        {"realm": tmp_path / "realm"},
        [],
    )
    assert (source.variable("realm"), source.variable("leeway")) == ("ASGI_JWT_REALM_FILE", "ASGI_JWT_LEEWAY")
    assert source.naming_file("realm") == {"realm": None, "realm_file": tmp_path / "realm", "leeway": 3}


def test_a_file_that_is_none_counts_as_absent() -> None:
    """`secret_file=None` names no file."""
    assert read_source({"secret_file": None}, ["secret"]) == (Source({}, {}), [])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cookie_samesite", "access_cookie_samesite"),
        ("cookie_domain", None),
        ("log_level", None),
        ("database_url", None),
        ("isuer", "issuer"),
        ("jwks_uri", "jwks_url"),
        ("secret_key", "secret"),
        ("access_token_ttl", "access_ttl"),
        ("allowed_origin", None),
        ("origins", "trusted_origins"),
        ("secret_files", "secret_file"),
        ("file", None),
    ],
)
def test_suggestions(name: str, near: str | None) -> None:
    """A name is suggested only where its words are those of the unknown one, but for their spelling or one more."""
    assert suggest(name, FIELDS) == near


def test_faults_have_their_variables_as_subject() -> None:
    """A sentence gets the variables that were set as its subject, and the settings count as broken."""
    faults = Faults(Source({}, {"b": Path("/b")}), [("a", "is missing"), (("a", "b", "c_file"), "are all set")])
    assert faults.broken == {"a", "b", "c"}
    with pytest.raises(ConfigurationError) as raised:
        faults.raise_any()
    assert raised.value.faults == (
        "ASGI_JWT_A is missing",
        "ASGI_JWT_A, ASGI_JWT_B_FILE and ASGI_JWT_C_FILE are all set",
    )
    Faults(Source({}, {}), []).raise_any()
