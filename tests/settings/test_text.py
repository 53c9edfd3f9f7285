"""Text as env files, YAML and shells leave it: read as it was meant, or refused with the mend."""

from pathlib import Path
from typing import Any

import pytest

from asgi_jwt import ConfigurationError, Settings

RANDOM = "Jq0wZ3v8Lr5Nd2Xk7Tb9Ys4Hm1Gc6Pf0"
OTHER = RANDOM[::-1]
NEEDED = {"ISSUER": "https://issuer.example", "AUDIENCE": "orders", "SECRET": RANDOM}


def read(**variables: str | None) -> Settings:
    given = {f"ASGI_JWT_{name}": value for name, value in {**NEEDED, **variables}.items() if value is not None}
    return Settings.from_env(given)


def fault(**variables: str | None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(**variables)
    (only,) = refused.value.faults
    return only


QUOTED: list[tuple[str, str, Any]] = [
    ("AUDIENCE", "orders", ("orders",)),
    ("AUDIENCE", "*", None),
    ("LEEWAY", "15s", 15),
    ("REQUIRE_TYP", "true", True),
    ("MAX_TOKEN_SIZE", "4096", 4096),
    ("STORE", "memory://", "memory://"),
    ("PUBLIC_PATHS", "/a,/b/*", ("/a", "/b/*")),
    ("COOKIE_PATH", "/auth", "/auth"),
    ("COOKIE_NAME", "rt", "rt"),
    ("REALM", "Orders #1", "Orders #1"),
    ("RESOURCE", "https://host.example/mcp", "https://host.example/mcp"),
    ("TYPE", "token_use=access", ("token_use", "access")),
    ("TYPE", "*", None),
    ("TYP", "JWT", {"jwt"}),
    ("ROLES_CLAIM", "realm_access.roles", "realm_access.roles"),
    ("REVOCATION_OUTAGE", "open", "open"),
    ("TOKEN_SOURCES", "header,cookie:a", ("header", "cookie:a")),
    ("TRUSTED_ORIGINS", "https://app.example", ("https://app.example",)),
    ("ALGORITHMS", "HS256", ("HS256",)),
]


@pytest.mark.parametrize("form", ['"{}"', "'{}'", "`{}`", "\u201c{}\u201d", ' "{}" \r', "\ufeff'{}'\n"])
@pytest.mark.parametrize(("name", "value", "expected"), QUOTED)
def test_quotes_are_taken_off(name: str, value: str, expected: Any, form: str) -> None:
    """A setting of every kind means the same with the quotation marks that an env file keeps, and with blanks."""
    assert getattr(read(**{name: form.format(value)}), name.lower()) == expected


@pytest.mark.parametrize("quoted", ['""', "''", '" "', "\r"])
def test_quotes_around_nothing_are_an_empty_variable(quoted: str) -> None:
    """A variable with an empty text in quotation marks counts as absent."""
    assert read(REALM=quoted).realm == "api"
    assert fault(SECRET=quoted).startswith("ASGI_JWT_SECRET is missing")


@pytest.mark.parametrize(
    "text",
    [
        *("a,b", '["a", "b"]', "['a', 'b']", "[a, b]", '"a","b"', '\'["a","b"]\'', '"[\\"a\\", \\"b\\"]"'),
        *("- a\n- b", '- "a"\n- "b"\n', "a\r\nb\r\n"),
    ],
)
def test_lists_of_json_and_yaml(text: str) -> None:
    """A list may be written as JSON, as YAML, or with a member a line."""
    assert read(AUDIENCE=text).audience == ("a", "b")


REFUSED: list[tuple[str, str, str]] = [
    *(("AUDIENCE", text, "has a quotation mark at one end") for text in ('"orders', 'orders"', 'a,"b', '"a"b"')),
    ("AUDIENCE", '["a", 1]', "has to be a list of texts"),
    *(
        (name, text, "holds a comment")
        for name, text in (("AUDIENCE", "orders # this one"), ("LEEWAY", "30 # seconds"))
    ),
    *(
        (name, text, "holds a variable that nothing replaced")
        for name, text in (("ISSUER", "https://${HOST}"), ("ISSUER", "$(ISSUER)"), ("AUDIENCE", "$AUDIENCE"))
    ),
    ("ISSUER", "https://${HOST:-issuer.example}", "holds a variable that nothing replaced"),
    ("ISSUER", "https://a.example https://b.example", "holds a blank"),
    ("PUBLIC_PATHS", "/a /b", "may hold paths"),
    ("TYP", "at+jwt JWT", "may hold media types"),
    ("AUDIENCE", "orders\udcff", "is no UTF-8 text"),
    ("STORE", "redis://host/\udcff", "is no UTF-8 text"),
    ("AUDIENCE", "or\u200bders", "holds the invisible character U+200B"),
    ("REQUIRED_CLAIMS", '{"tenant": "a"}', "has to be the name of a claim"),
    ("SCOPE_CLAIM", '["scp"]', "has to be the name of a claim"),
]


@pytest.mark.parametrize(("name", "value", "told"), REFUSED)
def test_what_is_left_of_an_env_file_is_refused(name: str, value: str, told: str) -> None:
    """An addition that can't be taken off is refused by a sentence that names it, and is never part of a value."""
    assert fault(**{name: value}).startswith(f"ASGI_JWT_{name} {told}")


ADDITIONS = {
    "begins or ends with a blank or a line break": ("{}\n", " {}", "{}\r", "\ufeff{}", "{}\\n"),
    "stands in quotation marks": ('"{}"', "'{}'"),
    "begins with a dash and a blank": ("- {}",),
    "holds a comment": ("{} # of production",),
    "holds a variable that nothing replaced": ("${{JWT_{}}}",),
    "is no UTF-8 text": ("{}\udcff",),
}


@pytest.mark.parametrize(("form", "told"), [(form, told) for told, forms in ADDITIONS.items() for form in forms])
def test_a_secret_is_never_changed(form: str, told: str) -> None:
    """Two programs that read one variable have one secret: an addition to a secret is refused, and none of it shown."""
    for name, secret in (("SECRET", RANDOM), ("REFRESH_SECRET", OTHER)):
        found = fault(**{name: form.format(secret)})
        assert found.startswith(f"ASGI_JWT_{name} {told}")
        assert secret not in found
    for whole in (f'a"{RANDOM}', f"{{{RANDOM}$A", f"[{RANDOM}"):
        assert read(SECRET=whole).secret == whole


def test_a_refresh_secret_with_a_comma() -> None:
    """Text with a comma is a list only where each part is a secret of its own."""
    assert read(REFRESH_SECRET=f"{RANDOM[::2] * 2},{OTHER}").refresh_secret == (RANDOM[::2] * 2, OTHER)
    short = fault(REFRESH_SECRET=f"{OTHER},{OTHER[:9]}")
    assert short.startswith("ASGI_JWT_REFRESH_SECRET has 9 bytes, and HS256 needs 32 at least: commas separate secrets")
    assert "has a comma with nothing on one side" in fault(REFRESH_SECRET=f"{OTHER},")
    assert "stands in quotation marks" in fault(REFRESH_SECRET=f'"{OTHER}",{OTHER}')


def test_a_refresh_secret_in_brackets() -> None:
    """A list of JSON is read, but where there is one secret; text that begins with `{` has to be a JWK Set."""
    assert read(REFRESH_SECRET=f'["{OTHER}", "{OTHER}x"]').refresh_secret == (OTHER, f"{OTHER}x")
    for text in (f"[{OTHER}]", f"[{OTHER}, 1]", "[1]"):
        assert "is no list of JSON" in fault(REFRESH_SECRET=text)
    assert fault(REFRESH_SECRET=f"{{{OTHER}").startswith("ASGI_JWT_REFRESH_SECRET is broken JSON: text that begins")
    assert fault(SECRET=f'["{RANDOM}"]').startswith("ASGI_JWT_SECRET is a list of JSON")


def test_names_of_variables_as_env_files_leave_them() -> None:
    """`export` and a byte order mark before a name, and blanks around it, are no part of the name."""
    given = {"\ufeffASGI_JWT_ISSUER": "i", "export ASGI_JWT_AUDIENCE": "a", "ASGI_JWT_SECRET ": RANDOM}
    settings = Settings.from_env(given)
    assert (settings.issuer, settings.audience, settings.secret) == (("i",), ("a",), RANDOM)


def test_files_as_editors_leave_them(tmp_path: Path) -> None:
    """The path may stand in quotation marks and blanks; the file may begin with a byte order mark and end with CRLF."""
    path = tmp_path / "secret"
    path.write_bytes(b"\xef\xbb\xbf" + RANDOM.encode() + b"\r\n")
    assert read(SECRET=None, SECRET_FILE=f' "{path}" \r').secret == RANDOM
    path.write_bytes(f'"{RANDOM}"\n'.encode())
    assert fault(SECRET=None, SECRET_FILE=str(path)).startswith("ASGI_JWT_SECRET_FILE stands in quotation marks")
    path.write_bytes(RANDOM.encode("utf-16"))
    assert "it is no UTF-8 text" in fault(SECRET=None, SECRET_FILE=str(path))
