"""Requests that anyone may send, each made to cost as much as it can: by body, header, cookie, token and path."""

import base64
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.requests import Request
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Scope

from asgi_jwt import Auth, AuthApp, Credentials, Identity, JWTMiddleware, MemoryStore, Settings
from asgi_jwt.tokens.compact import encode_base64url
from asgi_jwt.tokens.key import Key
from benchmarks.asgi import bare, request_scope
from benchmarks.fixture import AUDIENCE, ISSUER, claims

SIZE = 64 * 1024
"""Bytes of a body, a header or a path: more, no body may have, and servers take no header."""
ACCESS_COOKIE = "__Host-access_token"
_COOKIE = "__Secure-refresh_token"
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
_TOKEN = 8192


class Costly(NamedTuple):
    """One request to `app`, which `auth` protects, with its body in `chunks`."""

    app: ASGIApp
    auth: Auth
    scope: Scope
    chunks: Sequence[bytes] = (b"",)


Costs = dict[str, dict[str, Costly]]
"""By the title of the table and the name of the row."""


def costly_requests() -> Costs:
    """Every request, to fresh services."""
    hs256 = _service(secret=secrets.token_urlsafe(32))
    return {
        "body": dict(_bodies(*hs256)),
        "header": dict(_headers(*hs256)),
        "cookie": dict(_cookies(*hs256)),
        "token": dict(_tokens()),
        "path": dict(_paths(*hs256)),
    }


async def _authenticate(credentials: Credentials, request: Request) -> Identity | None:
    return None


def _service(issuers: Sequence[Settings] = (), **keys: Any) -> tuple[ASGIApp, Auth]:
    settings = Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        refresh_secret=[secrets.token_urlsafe(32) for _ in range(4)],
        token_sources=["header", "subprotocol", f"cookie:{ACCESS_COOKIE}"],
        public_paths=["/auth/*", "/static/*", "/health"],
        access_cookie=ACCESS_COOKIE,
        **keys,
    )
    auth = Auth(settings, issuers=issuers, store=MemoryStore())
    router = Router([Mount("/auth", AuthApp(auth, _authenticate)), Mount("/", bare)])
    return JWTMiddleware(router, auth), auth


def _scope(method: str, path: str, *headers: tuple[str, bytes], **more: Any) -> Scope:
    given = [(name.encode(), value) for name, value in headers]
    scope = request_scope()
    at = {"method": method, "path": path, "raw_path": quote(path).encode()}
    return {**scope, **at, "headers": [*scope["headers"][:2], *given], **more}


def _bodies(app: ASGIApp, auth: Auth) -> Iterator[tuple[str, Costly]]:
    def body(content_type: str, *chunks: bytes) -> Costly:
        return Costly(app, auth, _scope("POST", "/auth/token", ("content-type", content_type.encode())), chunks)

    fields = b"&".join(b"%%4%d=%%41" % (number % 10) + b"%d" % number for number in range(500))
    forms = {
        "nothing but %": b"%" * SIZE,
        "escapes": b"grant_type=" + b"%41" * (SIZE // 3 - 4),
        "escapes of 500 fields": b"&".join(b"%d=" % number + b"%41" * 41 for number in range(500)),
        "500 fields": fields,
        "nothing but &": b"&" * SIZE,
        "nothing but =": b"=" * SIZE,
        "nothing but +": b"+" * SIZE,
        "text outside ASCII": b"grant_type=" + b"%F0%9F%98%80" * (SIZE // 12 - 1),
    }
    members = b",".join(b'"%d":1' % number for number in range(7200))
    objects = {
        "7,200 members": b"{%s}" % members,
        "499 members": b"{%s}" % b",".join(b'"%d":"%s"' % (number, b"x" * 100) for number in range(499)),
        "498 lists": b'{"":[%s]}' % b",".join([b"[]"] * 498),
        "lists, 60 deep": b'{"":%s%s}' % (b"[" * 60, b"]" * 60),
        "lists, 30,000 deep": b'{"":%s%s}' % (b"[" * 30_000, b"]" * 30_000),
        "498 fractions": b'{"":[%s]}' % b",".join([b"1." + b"1" * 120 + b"e-300"] * 498),
        "whole numbers": b'{"":[%s]}' % b",".join([b"9" * 4300] * 15),
        "one fraction": b'{"":0.%s}' % (b"9" * (SIZE - 100)),
        "escapes in text": b'{"grant_type":"%s"}' % (b"\\n" * 32_000),
        "surrogate pairs": b'{"grant_type":"%s"}' % (b"\\ud83d\\ude00" * 5_000),
        "blanks": b"{%s}" % (b" " * (SIZE - 2)),
        "plain text": b'{"grant_type":"%s"}' % (b"x" * (SIZE - 20)),
    }
    yield "a refresh token that is none", body(_FORM, b"grant_type=refresh_token&refresh_token=x")
    for name, content in forms.items():
        yield f"form: {name}", body(_FORM, content)
    yield (
        "form: a scope of 30,000 names",
        body(_FORM, b"grant_type=refresh_token&refresh_token=x&scope=" + b"a+" * 30_000),
    )
    for name, content in objects.items():
        yield f"JSON: {name}", body(_JSON, content)
    yield "single bytes", body(_FORM, *[b"x"] * SIZE)


def _headers(app: ASGIApp, auth: Auth) -> Iterator[tuple[str, Costly]]:
    def get(*headers: tuple[str, bytes]) -> Costly:
        return Costly(app, auth, _scope("GET", "/orders", *headers))

    def post(path: str, *headers: tuple[str, bytes], content: bytes = b"") -> Costly:
        return Costly(app, auth, _scope("POST", path, *headers), [content])

    yield "none", get()
    yield "Authorization: Bearer, blanks", get(("authorization", b"Bearer" + b" " * SIZE + b"x"))
    yield "Authorization: Bearer, words", get(("authorization", b"Bearer " + b"x " * (SIZE // 2)))
    yield "Authorization: Bearer, one word", get(("authorization", b"Bearer " + b"x" * SIZE))
    yield "Authorization: another scheme", get(("authorization", b"x" * SIZE))
    form = ("content-type", _FORM.encode())
    refresh = b"grant_type=refresh_token&refresh_token=x"
    for path in ("/orders", "/auth/refresh", "/auth/login", "/auth/token"):
        yield f"16,000 headers, {path}", post(path, *[("x", b"")] * 16_000, form, content=refresh)
        schemes = [("authorization", b"DPoP")] * 3_600
        yield f"3,600 Authorization headers, {path}", post(path, *schemes, form, content=refresh)
    for name, credentials in {"%": b"%", "escapes": b"%41", "text": b"x"}.items():
        basic = b"Basic " + base64.b64encode(credentials * (48_000 // len(credentials)) + b":")
        yield f"Authorization: Basic, {name}", post("/auth/token", ("authorization", basic), form, content=refresh)
    yield "Content-Type", post("/auth/token", ("content-type", b"application/json" + b";" * SIZE))
    yield "Content-Length", post("/auth/token", form, ("content-length", b"9" * SIZE))
    yield "If-None-Match", Costly(app, auth, _scope("GET", "/auth/asgi-jwt.js", ("if-none-match", b"," * SIZE)))
    yield "Origin", post("/auth/refresh", ("origin", b"https://" + b"x" * SIZE))
    yield "Sec-Fetch-Site", post("/auth/refresh", ("sec-fetch-site", b"x" * SIZE))
    login = b'{"username":"a","password":"b"}'
    json_type = ("content-type", _JSON.encode())
    yield "User-Agent", post("/auth/login", json_type, ("user-agent", b"x" * SIZE), content=login)
    socket = {"type": "websocket", "scheme": "ws"}
    for name, offered in {
        "60,000 names": ["x"] * 60_000,
        "60,000 times bearer": ["bearer"] * 60_000,
        "bearer and 60,000 names": ["bearer", "x", *["x"] * 60_000],
    }.items():
        for path in ("/orders", "/health"):
            scope = _scope("GET", path, **socket, subprotocols=offered)
            yield f"Sec-WebSocket-Protocol: {name}, {path}", Costly(app, auth, scope)


def _cookies(app: ASGIApp, auth: Auth) -> Iterator[tuple[str, Costly]]:
    for method, path, name in (("POST", "/auth/refresh", _COOKIE), ("GET", "/orders", ACCESS_COOKIE)):
        cookie = name.encode()
        values = {
            "one": cookie + b"=x",
            "semicolons": cookie + b";" * SIZE,
            "semicolons and blanks": cookie + b" ;" * (SIZE // 2),
            "blanks": cookie + b" " * SIZE,
            "the name": (cookie + b";") * (SIZE // len(cookie)),
            "the name and =": (cookie + b"=;") * (SIZE // len(cookie)),
            "the name behind blanks": (b"x " + cookie + b"=;") * (SIZE // len(cookie)),
            "a value": cookie + b"=" + b"x" * SIZE,
        }
        for kind, value in values.items():
            yield f"{name}: {kind}", Costly(app, auth, _scope(method, path, ("cookie", value)))


def _paths(app: ASGIApp, auth: Auth) -> Iterator[tuple[str, Costly]]:
    segments = {"/": "/", "/a": "/a", "/.a": "/.a", "%2e": "/%2e", "%": "%", "é": "é"}
    for name, part in segments.items():
        for prefix in ("", "/static", "/auth"):
            path = prefix + "/x" + part * (SIZE // len(part))
            yield f"{prefix or 'not public'}, of {name}", Costly(app, auth, _scope("GET", path))
    sid = _scope("DELETE", "/auth/sessions/" + "x" * SIZE, ("authorization", b"Bearer x.x.x"))
    yield "a session's id", Costly(app, auth, sid)
    yield "a query", Costly(app, auth, _scope("GET", "/auth/sessions", query_string=b"&=" * (SIZE // 2)))


def _tokens() -> Iterator[tuple[str, Costly]]:
    app, auth = _service(secret=secrets.token_urlsafe(32))
    partner = Settings(issuer="https://partner.example", audience=AUDIENCE, secret=secrets.token_urlsafe(32))
    parted = _service(issuers=[partner], secret=secrets.token_urlsafe(32))
    stranger = Key.from_secret(secrets.token_urlsafe(32))
    yield "64 KiB", _shown(app, auth, b"x" * SIZE)
    yield "dots", _shown(app, auth, b"." * _TOKEN)
    yield "no base64url", _shown(app, auth, b"!" * _TOKEN)
    for name, members in _members().items():
        payload = b'{"iss":"%s",%s}' % (ISSUER.encode(), members)
        yield f"header: {name}", _shown(app, auth, _signed(stranger, "HS256", header=members))
        yield f"payload, one issuer: {name}", _shown(app, auth, _signed(stranger, "HS256", payload))
        yield f"payload, two issuers: {name}", _shown(*parted, _signed(stranger, "HS256", payload))
    content = b"grant_type=refresh_token&refresh_token=" + _signed(stranger, "HS256", header=b'"typ":"rt+jwt"')
    scope = _scope("POST", "/auth/token", ("content-type", _FORM.encode()))
    yield "a refresh token, four secrets", Costly(app, auth, scope, [content])
    for algorithm, make in _KEYS.items():
        signer = Key.from_jwk(make())
        service = _service(keys=json.dumps({"keys": [make() for _ in range(4)]}), algorithms=algorithm)
        for name, size in {"": 0, ", 5,000 bytes": 5000}.items():
            payload = json.dumps({**claims("x"), "x": "x" * size}).encode()
            yield f"{algorithm}, four keys{name}", _shown(*service, _signed(signer, algorithm, payload))


def _members() -> Mapping[str, bytes]:
    return {
        "700 members": b",".join(b'"%d":1' % number for number in range(700)),
        "15 lists, deep": b'"x":%s%s' % (b"[" * 15, b"]" * 15),
        "1,900 lists": b'"x":[%s]' % b",".join([b"[]"] * 1900),
        "2,800 numbers": b'"x":[%s]' % b",".join([b"1"] * 2800),
        "fractions": b'"x":[%s]' % b",".join([b"2.2250738585072011e-308"] * 230),
        "a whole number": b'"x":%s' % (b"9" * 4300),
        "escapes": b'"x":"%s"' % (b"\\n" * 2800),
    }


def _shown(app: ASGIApp, auth: Auth, token: bytes) -> Costly:
    return Costly(app, auth, _scope("GET", "/orders", ("authorization", b"Bearer " + token)))


def _signed(key: Key, algorithm: str, payload: bytes = b"{}", *, header: bytes = b'"typ":"at+jwt"') -> bytes:
    """A token without a `kid`, of a key that nobody trusts: its signature is as costly to check as a good one."""
    parts = (b'{"alg":"%s",%s}' % (algorithm.encode(), header), payload)
    message = b".".join(map(encode_base64url, parts))
    return message + b"." + encode_base64url(key.sign(algorithm, message))


def _rsa(bits: int) -> Callable[[], dict[str, Any]]:
    return lambda: _for_any_use(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, bits), as_dict=True))


def _ec(curve: type[ec.EllipticCurve]) -> Callable[[], dict[str, Any]]:
    return lambda: _for_any_use(ECAlgorithm.to_jwk(ec.generate_private_key(curve()), as_dict=True))


def _for_any_use(jwk: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name != "key_ops"}


_KEYS: dict[str, Callable[[], dict[str, Any]]] = {
    "RS256": _rsa(2048),
    "PS512": _rsa(4096),
    "ES256": _ec(ec.SECP256R1),
    "ES384": _ec(ec.SECP384R1),
    "ES512": _ec(ec.SECP521R1),
    "EdDSA": lambda: OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True),
}
