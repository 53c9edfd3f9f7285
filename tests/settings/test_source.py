"""Where values come from."""

from pathlib import Path

from asgi_jwt.settings.fields import FIELDS
from asgi_jwt.settings.source import read_source, suggest


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


NEAR = {
    "isuer": "issuer",
    "jwks_uri": "jwks_url",
    "secret_key": "secret",
    "access_token_ttl": "access_ttl",
    "cookie_samesite": "access_cookie_samesite",
    "origins": "trusted_origins",
    "secret_files": "secret_file",
    **dict.fromkeys(["cookie_domain", "log_level", "database_url", "allowed_origin", "file"]),
}


def test_suggestions() -> None:
    """A name is suggested only where its words are those of the unknown one, but for their spelling or one more."""
    assert {name: suggest(name, FIELDS) for name in NEAR} == NEAR
