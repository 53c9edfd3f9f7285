"""Whatever is sent to a route is answered in JSON and below 500, and costs the store nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.app import COOKIE, PASSWORDS, Answer, Service, bearer, json_body

from asgi_jwt.http.bodies import MAX_BODY

pytestmark = pytest.mark.anyio

JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")
MEGABYTE = b"x" * 65536
VALID: dict[str, dict[str, Any]] = {
    "/login": {"username": "alice", "password": PASSWORDS["alice"]},
    "/token": {"grant_type": "refresh_token", "refresh_token": "token"},
    "/revoke": {"token": "token"},
}
FIELDS = [(path, field) for path, fields in VALID.items() for field in fields]


def assert_error(answer: Answer, status: int, error: str) -> None:
    assert (answer.status, answer.json()["error"]) == (status, error)
    assert answer.json().keys() == {"error", "error_description"}
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")
    assert answer.set_cookies == []


@pytest.mark.parametrize("path", VALID)
async def test_content_type(service: Service, path: str) -> None:
    """A body that is neither JSON nor a form is a 415."""
    for content_type in ("text/plain", "multipart/form-data; boundary=x", "application/jwt", ""):
        answer = await service.ask("POST", path, headers=[("content-type", content_type)], chunks=[b"{}"])
        assert_error(answer, 415, "unsupported_media_type")
    assert_error(await service.post(path), 415, "unsupported_media_type")
    assert service.store.calls.total() == 0


@pytest.mark.parametrize("content_type", [JSON, FORM])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("path", VALID)
async def test_a_megabyte(service: Service, path: str, declared: bool, content_type: tuple[str, str]) -> None:
    """A body of 1 MB is a 413, declared or not."""
    length = [("content-length", str(16 * len(MEGABYTE)))] if declared else []
    answer = await service.ask("POST", path, headers=[content_type, *length], chunks=[MEGABYTE] * 16)
    assert_error(answer, 413, "body_too_large")
    assert service.store.calls.total() == 0


@pytest.mark.parametrize("path", ["/refresh", "/logout", "/logout-all"])
async def test_a_megabyte_that_nobody_reads(service: Service, path: str) -> None:
    """A route that takes no body reads none."""
    token = (await service.login()).cookie()
    headers = [JSON, ("cookie", f"{COOKIE}={token}"), ("content-length", str(16 * len(MEGABYTE)))]
    answer = await service.ask("POST", path, headers=headers, chunks=[MEGABYTE] * 16)
    assert answer.status in (200, 204)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"a": 1,}',
        b'{"username": "alice", "username": "alice"}',
        b'{"a": ' + b"[" * 20000 + b"]" * 20000 + b"}",
        b'{"a":' * 9000 + b"1" + b"}" * 9000,
        b'{"a": ' + b"9" * 60000 + b"}",
        b'{"a": NaN}',
        b'\xff{"a": "b"}',
        b"x" * MAX_BODY,
    ],
)
@pytest.mark.parametrize("path", VALID)
async def test_broken_json(service: Service, path: str, body: bytes) -> None:
    """Broken, deep and repeated JSON is a 400."""
    assert_error(await service.ask("POST", path, headers=[JSON], chunks=[body]), 400, "invalid_request")
    assert service.store.calls.total() == 0


@pytest.mark.parametrize("body", [b"a=b&a=b", b"a=%ff", "a=é".encode(), b"&".join([b"a%d=1" % n for n in range(2000)])])
@pytest.mark.parametrize("path", VALID)
async def test_broken_forms(service: Service, path: str, body: bytes) -> None:
    """A form that repeats a field, or isn't UTF-8, is a 400."""
    assert_error(await service.ask("POST", path, headers=[FORM], chunks=[body]), 400, "invalid_request")


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], ["text"], {}, {"a": "b"}, "\ud800"])
@pytest.mark.parametrize(("path", "field"), FIELDS)
async def test_fields_that_are_no_text(service: Service, path: str, field: str, value: object) -> None:
    """A field that is null, a number, a list, an object or half a character is a 400."""
    assert_error(await service.post(path, json_body({**VALID[path], field: value})), 400, "invalid_request")
    assert service.store.calls.total() == 0


@pytest.mark.parametrize(("path", "field"), FIELDS)
async def test_missing_fields(service: Service, path: str, field: str) -> None:
    """A field that is missing, or there twice, is a 400."""
    fields = {name: value for name, value in VALID[path].items() if name != field}
    assert_error(await service.post(path, json_body(fields)), 400, "invalid_request")
    twice = json.dumps(VALID[path])[:-1] + f', "{field}": "again"}}'
    assert_error(await service.ask("POST", path, headers=[JSON], chunks=[twice.encode()]), 400, "invalid_request")


@pytest.mark.parametrize("path", VALID)
async def test_unknown_fields(service: Service, path: str) -> None:
    """Fields that nobody knows are ignored, whatever they hold."""
    plain = await service.post(path, json_body(VALID[path]))
    more: dict[str, Any] = {"client_id": "app", "scope": None, "\ud800": "\ud800", "x": [{}], "__class__": 1}
    answer = await service.post(path, json_body({**VALID[path], **more}))
    assert answer.status == plain.status


@pytest.mark.parametrize("path", VALID)
async def test_hung_up(service: Service, path: str) -> None:
    """A client that hangs up within its body is no error of the server's."""
    answer = await service.ask("POST", path, headers=[JSON], chunks=[])
    assert_error(answer, 400, "invalid_request")


@pytest.mark.parametrize("token", ["Ünïcode", "a b", "\x7f", "..", "x" * 9000, "e30.e30.", "null", "=" * 100])
async def test_bearer_rubbish(service: Service, token: str) -> None:
    """Rubbish for a Bearer token is a 401 or a 400, wherever a token is taken."""
    for method, path in (("GET", "/sessions"), ("DELETE", "/sessions/s1"), ("POST", "/logout-all")):
        answer = await service.ask(method, path, headers=[bearer(token)])
        assert answer.status in (400, 401)
        assert answer.json()["error"] in ("invalid_request", "invalid_token")
        assert "www-authenticate" in answer.headers
    assert service.store.calls.total() == 0


@pytest.mark.parametrize("path", ["/login", "/refresh", "/token", "/logout", "/revoke"])
async def test_too_many_headers(service: Service, path: str) -> None:
    """More than 1,000 headers are a 400 before anything is read."""
    token = (await service.login()).cookie()
    service.store.calls.clear()
    headers = [("x", "y")] * 1000 + [JSON, ("cookie", f"{COOKIE}={token}")]
    assert_error(await service.ask("POST", path, headers=headers), 400, "invalid_request")
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
content_types = st.sampled_from([JSON[1], FORM[1], "Application/JSON; x=y"]) | latin
routes = st.sampled_from(["/login", "/refresh", "/token", "/logout", "/logout-all", "/sessions", "/revoke"])
paths = routes | texts.map(lambda text: "/sessions/" + text)


@given(
    method=st.sampled_from(["POST", "GET", "DELETE", "HEAD", "PUT"]),
    path=paths,
    content_type=content_types,
    sent=headers,
    chunks=st.lists(bodies, max_size=3),
)
async def test_fuzz(
    method: str, path: str, content_type: str, sent: list[tuple[str, bytes]], chunks: list[bytes]
) -> None:
    """No body and no headers, of whatever rubbish, make a 500, an error that isn't JSON, or speak for anyone."""
    service = Service()
    answer = await service.ask(method, path, headers=[("content-type", content_type), *sent], chunks=chunks)
    assert answer.status < 500
    if answer.status >= 400:
        assert answer.json().keys() in ({"error", "error_description"}, {"error_description"})
        assert answer.headers["cache-control"] == "no-store"
    else:
        assert path in ("/login", "/logout", "/revoke")
    if answer.status == 401:
        assert "www-authenticate" in answer.headers
