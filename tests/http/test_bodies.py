"""Bodies and headers as anybody may send them: read, or answered in JSON below 500 at no cost to the store."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.app import COOKIE, PASSWORDS, Answer, Header, Service, bearer, credentials, json_body
from support.tables import tables_of

from asgi_jwt import Credentials
from asgi_jwt.errors import AuthError, InvalidRequest
from asgi_jwt.events import LoginRefused, TokenRefused
from asgi_jwt.http.bodies import MAX_BODY

pytestmark = pytest.mark.anyio

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
VALID: dict[str, dict[str, Any]] = {
    "/login": credentials(),
    "/token": {"grant_type": "refresh_token", "refresh_token": "token"},
    "/revoke": {"token": "token"},
}
REASONS = {400: "body_malformed", 413: "body_too_large", 415: "media_type_unsupported"}
FIELDS = [(path, field) for path, fields in VALID.items() for field in fields]


def assert_error(answer: Answer, status: int, error: str) -> None:
    assert answer.error == (status, error)
    assert answer.json().keys() == {"error", "error_description"}
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (JSON, "no-store")
    assert (answer.set_cookies, answer.challenge) == ([], None)


async def send(
    *chunks: bytes, content_type: str | None = JSON, length: str | None = None, path: str = "/login"
) -> tuple[Answer, Credentials | None]:
    """A body in `chunks` with a declared `length`: the answer, and the fields that `authenticate` was handed."""
    seen: list[Credentials] = []
    service = Service(authenticate=lambda given, _: seen.append(given))
    headers = [("content-type", content_type), ("content-length", length)]
    given: list[Header] = [(name, value) for name, value in headers if value is not None]
    answer = await service.ask("POST", path, headers=given, chunks=chunks)
    assert service.store.calls.total() == 0
    (event,) = service.events
    if answer.status != 401:
        assert event == (
            LoginRefused(REASONS[answer.status])
            if path == "/login"
            else TokenRefused(REASONS[answer.status], answer.status, "http")
        )
    return answer, seen[0] if seen else None


async def read(*chunks: bytes, **more: Any) -> Credentials:
    _, fields = await send(*chunks, **more)
    assert fields is not None
    return fields


async def test_read() -> None:
    """A JSON object's members, in whatever chunks it comes; a form's fields, percent-decoded, empty ones included.

    Only the first `=` ends a name, empty fields are none, and an escape may be written in either case.
    """
    fields = await read(b'{"user', b'name": "al', b'ice", "n": 1}')
    assert (fields["username"], len(fields), list(fields), "n" in fields) == ("alice", 2, ["username", "n"], True)
    for body, expected in (
        (b"username=al%C3%AFce+b&password=&x", {"username": "alïce b", "password": "", "x": ""}),
        (b"&&a=b=c&=d&e%3D%26=%2b%2B&f=_ ?;\\\n=&", {"a": "b=c", "": "d", "e=&": "++", "f": "_ ?;\\\n="}),
    ):
        assert dict(await read(body, content_type=FORM)) == expected


@given(st.dictionaries(*[st.text(st.characters(exclude_categories=["Cs"]))] * 2))
async def test_any_form(fields: dict[str, str]) -> None:
    """Whatever text a client encodes as a form comes out as it was."""
    encoded = urlencode(fields)
    for body in (encoded, encoded.replace("+", "%20"), re.sub("%..", lambda escape: escape[0].lower(), encoded)):
        assert dict(await read(body.encode(), content_type=FORM)) == fields


JSON_TYPES = [JSON, f"{JSON}; charset=utf-8", "Application/JSON;charset=UTF-8", f"{JSON} ;q=1", f" {JSON}"]
OTHER_TYPES = [None, "", "text/plain", "text/json", "multipart/form-data; boundary=x", "application/jwt"]
OTHER_TYPES += [f"{JSON}+x", f"text/plain;{JSON}", "*/*"]


@pytest.mark.parametrize("content_type", [*JSON_TYPES, *OTHER_TYPES])
async def test_content_types(content_type: str | None) -> None:
    """JSON's type may have parameters and any case. Any other type than JSON's and a form's is a 415, those too that
    a page may send to another site without a preflight."""
    if content_type in JSON_TYPES:
        assert dict(await read(b'{"a": "b"}', content_type=content_type)) == {"a": "b"}
        return
    for path in VALID:
        answer, _ = await send(b'{"a": "b"}', content_type=content_type, path=path)
        assert_error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("length", [None, str(MAX_BODY), "nonsense", "-1", "1"])
async def test_largest_body(length: str | None) -> None:
    """64 KiB are read, whatever length was declared, and bodies of 500 fields, or 499 members beside the object."""
    body = b'{"a": "' + b"x" * (MAX_BODY - 9) + b'"}'
    assert len((await read(body[:1000], body[1000:], length=length))["a"]) == len(body) - 9 == MAX_BODY - 9
    names = [f"a{number}" for number in range(500)]
    assert list(await read("&".join(f"{name}=b" for name in names).encode(), content_type=FORM)) == names
    assert list(await read(json.dumps(dict.fromkeys(names, "b")).encode())) == names
    assert list(await read(*[b" "] * 992, *[b"%c" % byte for byte in b'{"a":1}'], b"")) == ["a"]


TOO_LARGE: dict[str, tuple[list[bytes], str | None]] = {
    "a byte more arrives": ([b"x" * MAX_BODY, b"x", b"never read"], None),
    "1 MB arrives": ([b"x" * MAX_BODY] * 16, None),
    "a byte more is declared": ([b""], str(MAX_BODY + 1)),
    "1 GB is declared": ([b""], str(10**9)),
    "5,000 digits are declared": ([b""], "9" * 5000),
    "the server hands over 1,001 messages": ([b" "] * 993 + [b"%c" % byte for byte in b'{"a":1}'] + [b""], None),
}


@pytest.mark.parametrize("content_type", [JSON, FORM])
@pytest.mark.parametrize("name", TOO_LARGE)
async def test_body_too_large(name: str, content_type: str) -> None:
    """A byte more than 64 KiB is a 413, as soon as it is declared, or when it arrives; so are too many messages."""
    chunks, length = TOO_LARGE[name]
    for path in VALID:
        answer, _ = await send(*chunks, content_type=content_type, length=length, path=path)
        assert_error(answer, 413, "body_too_large")


SHORT = {
    name: {key: text.encode("latin-1") for key, text in rows.items()} for name, rows in tables_of(__file__).items()
}
BROKEN_JSON = SHORT["broken_json"] | {
    "UTF-16": '{"a": "b"}'.encode("utf-16"),
    "a number of 60000 digits": b'{"a": ' + b"9" * 60000 + b"}",
    "deep arrays": b'{"a": ' + b"[" * 30000 + b"]" * 30000 + b"}",
    "deep objects": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "501 members": b"{" + b",".join(b'"%d":1' % number for number in range(501)) + b"}",
    "501 items": b'{"a": [' + b"1," * 500 + b"1]}",
    "64 KiB of empty lists": b'{"a": [' + b"[]," * 21000 + b"[]]}",
    "a number of 101 digits": b'{"a": ' + b"9" * 101 + b"}",
    "64 KiB of letters": b"x" * MAX_BODY,
}
BROKEN_FORMS = SHORT["broken_forms"] | {
    "501 fields": b"&".join(b"a%d=b" % number for number in range(501)),
    "64 KiB of ampersands": b"&" * MAX_BODY,
    "64 KiB of percent signs": b"%" * MAX_BODY,
}


@pytest.mark.parametrize("path", VALID)
@pytest.mark.parametrize(
    ("content_type", "body"),
    [(JSON, body) for body in BROKEN_JSON.values()] + [(FORM, body) for body in BROKEN_FORMS.values()],
    ids=[f"JSON: {name}" for name in BROKEN_JSON] + [f"form: {name}" for name in BROKEN_FORMS],
)
async def test_malformed(path: str, content_type: str, body: bytes) -> None:
    """Broken syntax and repeated names are a 400 on every route that reads a body."""
    answer, fields = await send(body, content_type=content_type, path=path)
    assert_error(answer, 400, "invalid_request")
    assert fields is None


@pytest.mark.parametrize("path", VALID)
async def test_hung_up(path: str) -> None:
    """A client that hangs up while it sends is refused as any other malformed body: no error of the server's."""
    answer, _ = await send(path=path)
    assert_error(answer, 400, "invalid_request")


@pytest.mark.parametrize("path", ["/refresh", "/logout", "/logout-all"])
async def test_a_megabyte_that_nobody_reads(service: Service, path: str) -> None:
    """A route that takes no body reads none."""
    token = (await service.login()).cookie()
    headers = [("content-type", JSON), ("cookie", f"{COOKIE}={token}"), ("content-length", "1048576")]
    answer = await service.ask("POST", path, headers=headers, chunks=[b"x" * MAX_BODY] * 16)
    assert answer.status in (200, 204)


NO_TEXT: list[Any] = [None, 1, True, 1.5, [], ["a"], {}, {"a": "b"}, "\ud800", "a\udfffb"]


@pytest.mark.parametrize("value", NO_TEXT)
@pytest.mark.parametrize(("path", "field"), FIELDS)
async def test_fields_that_are_no_text(service: Service, path: str, field: str, value: object) -> None:
    """A field that is null, a number, a list, an object or half a character is a 400."""
    assert_error(await service.post(path, json_body({**VALID[path], field: value})), 400, "invalid_request")
    assert service.store.calls.total() == 0


@pytest.mark.parametrize(("path", "field"), FIELDS)
async def test_missing_fields(service: Service, path: str, field: str) -> None:
    """A field that is missing is a 400 that names it."""
    fields = {name: value for name, value in VALID[path].items() if name != field}
    answer = await service.post(path, json_body(fields))
    assert_error(answer, 400, "invalid_request")
    assert answer.json()["error_description"] == f"The field '{field}' of the body is missing"


@pytest.mark.parametrize("path", VALID)
async def test_unknown_fields(service: Service, path: str) -> None:
    """Fields that nobody knows are ignored, whatever they hold."""
    plain = await service.post(path, json_body(VALID[path]))
    more: dict[str, Any] = {"client_id": "app", "scope": None, "\ud800": "\ud800", "x": [{}], "__class__": 1}
    answer = await service.post(path, json_body({**VALID[path], **more}))
    assert answer.status == plain.status


@pytest.mark.parametrize("value", NO_TEXT)
def test_credentials_that_are_no_text(value: Any) -> None:
    """A field that is missing or no text is a 400 to whoever looks at it, and `get` has a default for a missing one."""
    fields = Credentials({"password": value, "username": "alice"})
    for look in (fields.__getitem__, fields.get):
        with pytest.raises(AuthError) as refused:
            look("password")
        error = refused.value
        assert (error.status, error.error, error.reason) == (400, "invalid_request", "field_missing")
        assert error.description == "The field 'password' of the body is no text"
    with pytest.raises(InvalidRequest):
        fields["otp"]
    assert (fields["username"], fields.get("otp"), fields.get("otp", "none")) == ("alice", None, "none")


def test_credentials_are_read_only_and_show_nothing() -> None:
    """Nobody changes the credentials on their way, not through their source either; neither a value nor a name shows:
    the only name of a form that is a bare password is that password."""
    fields = {"password": "hunter2", "correct horse": ""}
    given = Credentials(fields)
    fields["password"] = "guess"
    assert given["password"] == "hunter2"
    with pytest.raises(TypeError):
        given["password"] = "guess"  # type: ignore[index]
    assert (repr(given), f"{Credentials({})}") == ("<Credentials: 2 fields>", "<Credentials: 0 fields>")


@pytest.mark.parametrize("token", ["Ünïcode", "a b", "\x7f", "..", "x" * 9000, "e30.e30.", "null", "=" * 100])
async def test_bearer_rubbish(service: Service, token: str) -> None:
    """Rubbish for a Bearer token is a 401 or a 400, wherever a token is taken."""
    for method, path in (("GET", "/sessions"), ("DELETE", "/sessions/s1"), ("POST", "/logout-all")):
        answer = await service.ask(method, path, headers=[bearer(token)])
        assert answer.error in [(400, "invalid_request"), (401, "invalid_token")]
        assert answer.challenge is not None
    assert service.store.calls.total() == 0


@pytest.mark.parametrize("path", ["/login", "/refresh", "/token", "/logout", "/revoke"])
async def test_too_many_headers(service: Service, path: str) -> None:
    """More than 1,000 headers are a 400 before anything is read."""
    headers = [("x", "y")] * 1000 + [("content-type", JSON), ("cookie", f"{COOKIE}=token")]
    assert (await service.ask("POST", path, headers=headers)).error == (400, "invalid_request")
    assert service.store.calls.total() == 0


texts = st.text(max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["username", "password", "transport", "grant_type", "refresh_token", "token"]) | texts
objects = st.dictionaries(names, st.sampled_from(["alice", PASSWORDS["alice"], "body", "refresh_token"]) | values)
forms = texts.map(lambda text: text.encode("utf-8", "replace"))
bodies = st.binary(max_size=200) | objects.map(json.dumps).map(str.encode) | forms
latin = st.text(st.characters(max_codepoint=255), max_size=60)
header_names = st.sampled_from(["authorization", "cookie", "content-length", "user-agent", "origin", "host"])
header_values = latin.map(lambda text: text.encode("latin-1"))
bearers = header_values.map(lambda value: b"Bearer " + value)
cookies = header_values.map(lambda value: COOKIE.encode() + b"=" + value)
headers = st.lists(st.tuples(header_names, header_values | bearers | cookies), max_size=4)
routes = st.sampled_from(["/login", "/refresh", "/token", "/logout", "/logout-all", "/sessions", "/revoke"])


@given(
    method=st.sampled_from(["POST", "GET", "DELETE", "HEAD", "PUT"]),
    path=routes | texts.map(lambda text: "/sessions/" + text),
    content_type=st.sampled_from([JSON, FORM, "Application/JSON; x=y"]) | latin,
    sent=headers,
    chunks=st.lists(bodies, max_size=3),
)
async def test_fuzz(
    method: str, path: str, content_type: str, sent: list[tuple[str, bytes]], chunks: list[bytes]
) -> None:
    """No body and no headers, of whatever rubbish, make a 500, an error that isn't JSON, or speak for anyone."""
    answer = await Service().ask(method, path, headers=[("content-type", content_type), *sent], chunks=chunks)
    assert answer.status < 500
    if answer.status >= 400:
        assert answer.json().keys() in ({"error", "error_description"}, {"error_description"})
        assert answer.headers["cache-control"] == "no-store"
    else:
        assert path in ("/login", "/logout", "/revoke")
    if answer.status == 401:
        assert answer.challenge is not None
