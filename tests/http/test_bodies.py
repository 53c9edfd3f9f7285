"""A body's fields, and what they may not be."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from asgi_jwt import Credentials
from asgi_jwt.errors import AuthError, BodyTooLarge, InvalidRequest, UnsupportedMediaType
from asgi_jwt.http.bodies import MAX_BODY, read_fields

pytestmark = pytest.mark.anyio

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


async def read(
    *chunks: bytes, content_type: str | None = JSON, length: str | None = None, hangs_up: bool = False
) -> Credentials:
    """The fields of a request whose body comes in `chunks`; `length` is what it declares."""
    given = {"content-type": content_type, "content-length": length}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in given.items() if value is not None]
    waiting: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting.append({"type": "http.disconnect"} if hangs_up else {"type": "http.request", "more_body": False})

    async def receive() -> Message:
        return waiting.pop(0)

    return await read_fields(Request({"type": "http", "method": "POST", "headers": headers}, receive))


async def test_json() -> None:
    """A JSON object's members, in whatever chunks it comes."""
    fields = await read(b'{"user', b'name": "al', b'ice", "n": 1}')
    assert (fields["username"], len(fields), list(fields), "n" in fields) == ("alice", 2, ["username", "n"], True)


async def test_form() -> None:
    """A form's fields, percent-decoded, empty ones included."""
    fields = await read(b"username=al%C3%AFce+b&password=&x", content_type=FORM)
    assert dict(fields) == {"username": "alïce b", "password": "", "x": ""}


@pytest.mark.parametrize(
    "content_type", [JSON, f"{JSON}; charset=utf-8", "Application/JSON;charset=UTF-8", f"{JSON} ;q=1", f" {JSON}"]
)
async def test_content_types(content_type: str) -> None:
    """A content type may have parameters, and any case."""
    assert dict(await read(b'{"a": "b"}', content_type=content_type)) == {"a": "b"}


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "text/json", "multipart/form-data; boundary=x", f"{JSON}+x", f"text/plain;{JSON}", "*/*"],
)
async def test_other_content_types(content_type: str | None) -> None:
    """Any other is a 415, those too that a page may send to another site without a preflight."""
    with pytest.raises(UnsupportedMediaType):
        await read(b'{"a": "b"}', content_type=content_type)


@pytest.mark.parametrize("length", [None, str(MAX_BODY), "nonsense", "-1", "1"])
async def test_largest_body(length: str | None) -> None:
    """64 KiB are read, whatever length was declared."""
    body = b'{"a": "' + b"x" * (MAX_BODY - 9) + b'"}'
    assert len(body) == MAX_BODY
    assert len((await read(body[:1000], body[1000:], length=length))["a"]) == MAX_BODY - 9


@pytest.mark.parametrize("content_type", [JSON, FORM])
async def test_body_too_large(content_type: str) -> None:
    """A byte more is a 413: as soon as it is declared, or when it arrives."""
    with pytest.raises(BodyTooLarge):
        await read(b"x" * MAX_BODY, b"x", b"never read", content_type=content_type)
    for length in (MAX_BODY + 1, 10**9, 10**5000):
        with pytest.raises(BodyTooLarge):
            await read(content_type=content_type, length=f"{length:.0f}" if length < 10**20 else "9" * 5000)


BROKEN_JSON = {
    "empty": b"",
    "no JSON": b"{",
    "an array": b'["a"]',
    "a text": b'"a"',
    "null": b"null",
    "a repeated name": b'{"a": "b", "a": "b"}',
    "a repeated name, escaped": b'{"a": "b", "\\u0061": "c"}',
    "a repeated name inside": b'{"a": {"b": 1, "b": 2}}',
    "a byte order mark": b'\xef\xbb\xbf{"a": "b"}',
    "UTF-16": '{"a": "b"}'.encode("utf-16"),
    "Latin-1": '{"a": "é"}'.encode("latin-1"),
    "rubbish behind": b'{"a": "b"} x',
    "two objects": b'{"a": "b"}{}',
    "NaN": b'{"a": NaN}',
    "a number of 10000 digits": b'{"a": ' + b"9" * 10000 + b"}",
    "deep arrays": b'{"a": ' + b"[" * 30000 + b"]" * 30000 + b"}",
    "deep objects": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "501 members": b"{" + b",".join(b'"%d":1' % number for number in range(501)) + b"}",
    "501 items": b'{"a": [' + b"1," * 500 + b"1]}",
    "64 KiB of empty lists": b'{"a": [' + b"[]," * 21000 + b"[]]}",
    "a number of 101 digits": b'{"a": ' + b"9" * 101 + b"}",
    "a form": b"a=b",
}
BROKEN_FORMS = {
    "a repeated field": b"a=b&a=b",
    "a repeated field, escaped": b"a=b&%61=c",
    "no UTF-8": b"a=%ff",
    "not ASCII": "a=é".encode(),
    "501 fields": b"&".join(b"a%d=b" % number for number in range(501)),
    "64 KiB of ampersands": b"&" * MAX_BODY,
    "a percent sign alone": b"a=100%",
    "a percent sign and one digit": b"a=%4",
    "a percent sign and one digit more": b"a=%4z",
    "a percent sign and no digits": b"a=%zz&b=c",
    "a percent sign and a line end": b"a=%\nb",
    "a percent sign that is half escaped": b"a=%%41",
    "a broken escape in a name": b"%=a",
    "64 KiB of percent signs": b"%" * MAX_BODY,
    "the byte 0xFE": b"a=%FE",
    "a surrogate": b"a=%ed%a0%80",
}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        *(pytest.param(JSON, body, id=f"JSON: {name}") for name, body in BROKEN_JSON.items()),
        *(pytest.param(FORM, body, id=f"form: {name}") for name, body in BROKEN_FORMS.items()),
    ],
)
async def test_malformed(content_type: str, body: bytes) -> None:
    """Broken syntax and repeated names are a 400."""
    with pytest.raises(InvalidRequest) as refused:
        await read(body, content_type=content_type)
    assert (refused.value.reason, refused.value.challenges) == ("body_malformed", False)


async def test_as_many_parts_as_a_body_may_have() -> None:
    """A body of 500 fields, or 499 members beside the object, is read."""
    names = [f"a{number}" for number in range(500)]
    assert list(await read("&".join(f"{name}=b" for name in names).encode(), content_type=FORM)) == names
    assert list(await read(json.dumps(dict.fromkeys(names, "b")).encode())) == names


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
    )
)
async def test_any_form(fields: dict[str, str]) -> None:
    """Whatever text a client encodes as a form comes out as it was."""
    encoded = urlencode(fields)
    for body in (encoded, encoded.replace("+", "%20"), re.sub("%..", lambda escape: escape[0].lower(), encoded)):
        assert dict(await read(body.encode(), content_type=FORM)) == fields


async def test_form_as_it_may_be_written() -> None:
    """Only the first `=` ends a name, empty fields are none, and an escape may be written in either case."""
    fields = await read(b"&&a=b=c&=d&e%3D%26=%2b%2B&f=_ ?;\\\n=&", content_type=FORM)
    assert dict(fields) == {"a": "b=c", "": "d", "e=&": "++", "f": "_ ?;\\\n="}


async def test_a_body_in_too_many_messages() -> None:
    """A body of which the server hands over single bytes is a 413 from the 1,000th on: each message costs time."""
    text = [b" "] * 992 + [b"%c" % byte for byte in b'{"a":1}']
    assert list(await read(*text)) == ["a"]
    with pytest.raises(BodyTooLarge):
        await read(b" ", *text)


async def test_client_hangs_up() -> None:
    """A client that hangs up while it sends is refused as any other malformed body: no traceback in the log."""
    with pytest.raises(InvalidRequest):
        await read(b'{"a": ', hangs_up=True)


@pytest.mark.parametrize("value", [None, 1, True, 1.5, ["a"], {"a": "b"}, "\ud800", "a\udfffb"])
def test_no_text(value: Any) -> None:
    """A field that is missing or no text, or one that no encoding takes, is a 400 to whoever looks at it."""
    given = Credentials({"password": value, "username": "alice"})
    for look in (given.__getitem__, given.get):
        with pytest.raises(AuthError) as refused:
            look("password")
        assert (refused.value.status, refused.value.error, refused.value.reason) == (
            400,
            "invalid_request",
            "field_missing",
        )
        assert refused.value.description == "The field 'password' of the body is no text"
    with pytest.raises(InvalidRequest) as missing:
        given["otp"]
    assert missing.value.description == "The field 'otp' of the body is missing"
    assert (given["username"], given.get("otp"), given.get("otp", "none")) == ("alice", None, "none")


def test_credentials_are_read_only() -> None:
    """Nobody changes the credentials on their way, not through what they were made of either."""
    fields = {"username": "alice"}
    given = Credentials(fields)
    fields["username"] = "admin"
    assert given["username"] == "alice"
    with pytest.raises(TypeError):
        given["username"] = "admin"  # type: ignore[index]


def test_credentials_show_nothing() -> None:
    """Neither a value nor a name shows: the only name of a form that is a bare password is that password."""
    shown = repr(Credentials({"password": "hunter2", "correct horse": ""}))
    assert shown == "<Credentials: 2 fields>"
    assert f"{Credentials({})}" == "<Credentials: 0 fields>"
