"""DPoP at AuthApp and at a resource: RFC 9449 sections 5 and 7."""

import time
from typing import Any
from uuid import uuid4

import pytest
from anyio import to_thread
from support.app import (
    AUDIENCE,
    HOST,
    ISSUER,
    NO_TOKEN,
    NOW,
    SECRET,
    Answer,
    Guarded,
    Header,
    Service,
    cookie,
    credentials,
    exchange,
    http_scope,
    json_body,
    payload,
    raw,
)
from support.proofs import Holder
from support.tables import tables_of
from support.valkey import Valkey

from asgi_jwt import Auth, ConfigurationError, Identity, InvalidProof, Proof, Settings
from asgi_jwt.errors import RevokedToken
from asgi_jwt.http.gate import Gate
from asgi_jwt.mcp import token_verifier
from asgi_jwt.testing import Clock
from asgi_jwt.tokens import proofs, uri
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.proof_key import proof_key

pytestmark = pytest.mark.anyio

ORIGIN = f"http://{HOST}"
ALGS = 'algs="ES256 ES384 ES512 Ed25519 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"'


class Bound:
    """A client with a key, at an AuthApp and at a resource beside it."""

    def __init__(self, dpop: str = "on", **settings: Any) -> None:
        self.service = Service(settings={"dpop": dpop, **settings})
        self.holder = Holder(self.service.clock)
        self.api = Guarded(self.service.auth, public=["/auth/*"])

    def proof(self, path: str, method: str = "POST", **changes: Any) -> Header:
        return "dpop", self.holder.proof(ORIGIN + path, method, **changes)

    async def login(self, *headers: Header, **more: Any) -> Answer:
        return await self.service.login("alice", *(headers or [self.proof("/auth/login")]), **more)

    async def refresh(self, token: str, *headers: Header) -> Answer:
        return await self.service.refresh(token, *(headers or [self.proof("/auth/refresh")]))

    async def get(self, token: str, scheme: str = "DPoP", *, holder: Holder | None = None, **changes: Any) -> Answer:
        """Ask the resource with a proof."""
        proof = (holder or self.holder).proof(f"{ORIGIN}/orders", "GET", token, **changes)
        shown = [("host", HOST), ("authorization", f"{scheme} {token}"), ("dpop", proof)]
        return await self.api.request("/orders", headers=shown)


async def test_login_refresh_and_resource() -> None:
    """A login with a proof is bound: its tokens say so, and work only with proofs of the same key."""
    client = Bound()
    login = await client.login()
    assert login.status == 200
    assert login.json()["token_type"] == "DPoP"
    access = login.json()["access_token"]
    for token in (access, login.cookie()):
        assert payload(token)["cnf"] == {"jkt": client.holder.thumbprint}
    assert (await client.service.kept(access)).jkt == client.holder.thumbprint
    assert (await client.get(access)).status == 200
    client.service.clock.turn(100)
    refreshed = await client.refresh(login.cookie())
    assert (refreshed.status, refreshed.json()["token_type"]) == (200, "DPoP")
    assert payload(refreshed.cookie())["cnf"] == payload(refreshed.json()["access_token"])["cnf"]
    assert (await client.get(refreshed.json()["access_token"])).status == 200


def told(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.json().get("error")


WRONG = {"username": "alice", "password": "wrong"}
PROOF, TOKEN = (401, "invalid_dpop_proof"), (401, "invalid_token")
GRANT_PROOF = (400, "invalid_dpop_proof")


async def test_a_bound_token_without_its_proof() -> None:
    """A bound token is refused as Bearer, in a cookie, by `bearer` among the subprotocols, and in `Auth.verify`."""
    client = Bound(access_cookie="__Host-a", token_sources="header,subprotocol,cookie:__Host-a")
    access = (await client.login()).json()["access_token"]
    host, authorization = ("host", HOST), ("authorization", f"DPoP {access}")
    proof = client.holder.proof(f"{ORIGIN}/orders", "GET", access)
    for headers in (
        [("authorization", f"Bearer {access}")],
        [("authorization", f"Bearer {access}"), ("dpop", proof)],
        [cookie(access, "__Host-a"), ("dpop", proof)],
        [authorization],
        [authorization, ("dpop", proof), ("dpop", proof)],
        [authorization, ("dpop", f"{proof},{proof}")],
        [authorization, ("dpop", Holder(client.service.clock).proof(f"{ORIGIN}/orders", "GET", access))],
        [authorization, ("dpop", "x" * 20_000)],
    ):
        assert told(await client.api.request("/orders", headers=[host, *headers])) == PROOF
    assert told(await client.api.connect(subprotocols=["bearer", access])) == PROOF
    with pytest.raises(InvalidProof):
        await client.service.auth.verify(access)
    assert client.service.auth.verify_cached(access) is None
    assert (await client.service.auth.verify(access, proof=Proof([proof.encode()], "GET", f"{ORIGIN}/orders"))).subject


async def test_an_unbound_token_under_dpop() -> None:
    """It is refused; as Bearer a `DPoP` header beside it is ignored, whatever that holds."""
    client = Bound()
    access = (await client.service.login()).json()["access_token"]
    assert told(await client.get(access)) == TOKEN
    assert (await client.api.request("/", headers=[("authorization", f"Bearer {access}"), ("dpop", "x")])).status == 200
    assert client.service.auth.verify_cached(access) is not None


async def test_a_proof_works_once() -> None:
    """A proof that was shown is refused, also at another route of the same URL, and a proof with its `jti` too."""
    client = Bound()
    access = (await client.login()).json()["access_token"]
    for status in (200, 401):
        assert (await client.get(access, claims={"jti": "one"})).status == status
    proof = client.proof("/auth/login", claims={"jti": "two"})
    assert [(await client.login(proof)).status for _ in range(2)] == [200, 400]


async def test_revoked_expired_and_refused_tokens_use_no_proof() -> None:
    """`jti` comes last: the proof of a refused request may be sent again."""
    client = Bound()
    login = await client.login()
    access = login.json()["access_token"]
    await client.service.post("/logout", None, ("authorization", f"DPoP {access}"))
    with pytest.raises(RevokedToken):
        await client.service.auth.verify(
            access, proof=Proof([client.holder.proof(ORIGIN, "GET", access).encode()], "GET", ORIGIN)
        )
    assert told(await client.get(access)) == TOKEN
    client.service.clock.turn(3000)
    assert told(await client.get(access)) == TOKEN


@pytest.mark.parametrize("path", ["/login", "/refresh", "/token"])
async def test_a_bad_proof_at_a_token_endpoint(path: str) -> None:
    """It is a 400 before `authenticate` runs; nothing is written, and the cookie stays."""
    client = Bound()
    bound, unbound = await client.login(), await client.service.login()
    asked: list[str] = []
    client.service.app._login._authenticate = lambda *_: asked.append("x")
    client.service.store.calls.clear()
    thief = Holder(client.service.clock)
    for login in (bound, unbound):
        cases: list[list[Header]] = [
            [("dpop", "x")],
            [client.proof("/other")],
            [client.proof(f"/auth{path}")] * 2,
            [client.proof(f"/auth{path}", "GET")],
        ]
        if path != "/login" and login is bound:
            cases += [[], [("dpop", thief.proof(f"{ORIGIN}/auth{path}", "POST"))]]
        for headers in cases:
            body = json_body(credentials()) if path == "/login" else None
            if path == "/token":
                answer = await client.service.token(login.cookie(), *headers)
            else:
                answer = await client.service.post(path, body, cookie(login.cookie()), *headers)
            assert (told(answer), answer.set_cookies) == (GRANT_PROOF, [])
    assert (asked, dict(client.service.store.calls)) == ([], {})


async def test_a_session_is_never_bound_later() -> None:
    """A thief's good proof at an unbound session binds nothing: 200 and Bearer, and the owner goes on."""
    client = Bound()
    login = await client.service.login()
    for answer in (
        await client.refresh(login.cookie()),
        await client.service.token(login.cookie(), client.proof("/auth/token")),
    ):
        assert (answer.status, answer.json()["token_type"]) == (200, "Bearer")
        assert "cnf" not in payload(answer.json()["access_token"])
    assert (await client.service.kept(login.cookie())).jkt is None
    assert (await client.service.refresh(login.cookie())).status == 200


async def test_a_thief_without_the_key() -> None:
    """P28: He gets nothing with a bound session's refresh tokens, and ends nothing; the holder's old ones work."""
    client = Bound()
    tokens = [(await client.login()).cookie()]
    for _ in range(4):
        client.service.clock.turn(100)
        tokens.append((await client.refresh(tokens[-1])).cookie())
    thief = Holder(client.service.clock)
    for token in tokens:
        for headers in ((), (("dpop", thief.proof(f"{ORIGIN}/auth/refresh", "POST")),)):
            assert told(await client.service.refresh(token, *headers)) == GRANT_PROOF
    for token in tokens:
        assert (await client.refresh(token)).status == 200
    assert set(client.service.verdicts) <= {"ROTATED", "REPLAYED", "SAME"}


async def test_required() -> None:
    """Logins without a proof and unbound tokens are refused; an unbound refresh clears the cookie and ends nothing."""
    before = Bound()
    old = await before.service.login()
    client = Bound("required")
    client.service.store.inner = before.service.store.inner
    assert told(await client.service.login()) == GRANT_PROOF
    assert (await client.login()).status == 200
    access = old.json()["access_token"]
    for _ in range(2):
        answer = await client.api.request("/", headers=[("authorization", f"Bearer {access}")])
        assert told(answer) == TOKEN
        assert answer.headers["www-authenticate"].startswith('DPoP realm="api", error="invalid_token"')
    refused = await client.service.refresh(old.cookie(), client.proof("/auth/refresh"))
    assert (told(refused), refused.cookie()) == ((401, "invalid_grant"), "")
    assert (await before.service.refresh(old.cookie())).status == 200


async def test_off() -> None:
    """A `DPoP` header is ignored; bound tokens are refused, and a bound refresh is a 400."""
    before = Bound()
    bound = await before.login()
    client = Bound("off")
    client.service.store.inner = before.service.store.inner
    login = await client.service.login("alice", ("dpop", "x"))
    assert (login.status, login.json()["token_type"]) == (200, "Bearer")
    assert (await client.service.refresh(login.cookie(), ("dpop", "x"))).status == 200
    access = bound.json()["access_token"]
    assert told(await client.api.request("/", headers=[("authorization", f"Bearer {access}")])) == TOKEN
    under = await client.get(access)
    assert (under.status, under.json(), under.headers["www-authenticate"]) == (401, NO_TOKEN, 'Bearer realm="api"')
    refused = await client.refresh(bound.cookie())
    assert (told(refused), refused.set_cookies) == (GRANT_PROOF, [])


async def test_challenges() -> None:
    """The error stands in the challenge of the scheme that was used; Bearer comes first, DPoP has its algorithms."""
    client = Bound()
    access = (await client.login()).json()["access_token"]
    both = f'Bearer realm="api", DPoP realm="api", {ALGS}'
    assert (await client.api.request()).headers["www-authenticate"] == both
    refused = await client.get(access, claims={"jti": ""})
    described = 'error="invalid_dpop_proof", error_description="The DPoP proof is missing or invalid"'
    assert refused.headers["www-authenticate"] == f'Bearer realm="api", DPoP realm="api", {described}, {ALGS}'
    as_bearer = await client.api.request(headers=[("authorization", f"Bearer {access}")])
    assert as_bearer.headers["www-authenticate"] == f'Bearer realm="api", {described}, DPoP realm="api", {ALGS}'
    at_sessions = await client.service.get("/sessions", ("authorization", f"DPoP {access}"))
    assert f'DPoP realm="api", {described}' in at_sessions.headers["www-authenticate"]
    described = 'error="invalid_request", error_description="The scheme takes exactly one token"'
    for given in ("DPoP", "dpop a b", "Bearer a b"):
        shown = "authorization", given
        offered = f'Bearer realm="api", DPoP realm="api", {ALGS}'
        at = 'DPoP realm="api"' if given[0] in "Dd" else 'Bearer realm="api"'
        for answer in (await client.service.get("/sessions", shown), await client.api.request(headers=[shown])):
            assert (answer.status, answer.headers["www-authenticate"]) == (
                400,
                offered.replace(at, f"{at}, {described}"),
            )
    for first, second in (("DPoP", "Bearer"), ("Bearer", "DPoP")):
        shown_twice = [("authorization", f"{scheme} x") for scheme in (first, second)]
        for answer in (
            await client.service.get("/sessions", *shown_twice),
            await client.api.request(headers=shown_twice),
        ):
            assert f'{first} realm="api", error="invalid_request"' in answer.headers["www-authenticate"]


async def test_the_users_sessions() -> None:
    """`/sessions` asks for the proof; `/logout`, `/logout-all` by cookie and `/revoke` for none."""
    client = Bound()
    logins = [await client.login() for _ in range(4)]
    access = logins[0].json()["access_token"]
    shown = ("authorization", f"DPoP {access}")

    def proof(path: str, method: str) -> Header:
        return client.proof(path, method, access_token=access)

    assert told(await client.service.get("/sessions", shown)) == PROOF
    listed = await client.service.get("/sessions", shown, proof("/auth/sessions", "GET"))
    assert len(listed.json()["sessions"]) == 4
    for n in (0, 1):
        sid = payload(logins[n].cookie())["sid"]
        assert told(await client.service.delete(sid, shown)) == PROOF
        if n:
            assert (await client.service.delete(sid, shown, proof(f"/auth/sessions/{sid}", "DELETE"))).status == 204
    assert (await client.service.post("/logout", None, shown)).status == 204
    assert (await client.service.revoke(logins[2].cookie())).status == 200
    assert told(await client.service.post("/logout-all", None, shown)) == PROOF
    assert (await client.service.post("/logout-all", None, cookie(logins[3].cookie()))).status == 204
    assert [(await client.refresh(login.cookie())).status for login in logins] == [401] * 4


async def test_a_bound_session_has_no_access_cookie() -> None:
    """A cookie proves no key, so the access token of a bound session gets none, and may be of any size."""
    client = Bound(access_cookie="__Host-access_token")
    client.service.app._login._authenticate = lambda *_: Identity("alice", claims={"x": "x" * 5000})
    login = await client.login()
    assert [each.partition("=")[0] for each in login.set_cookies] == ["__Secure-refresh_token"]
    client.service.clock.turn(100)
    refreshed = await client.refresh(login.cookie())
    assert [each.partition("=")[0] for each in refreshed.set_cookies] == ["__Secure-refresh_token"]


async def test_the_memory_of_proofs_is_full() -> None:
    """A proof beyond `DPOP_REPLAY_SIZE` is a 503 that says when to come back, and nothing is forgotten too early."""
    client = Bound(dpop_replay_size=2)
    access = (await client.login()).json()["access_token"]
    assert (await client.get(access, claims={"jti": "x"})).status == 200
    for path in (client.get(access), client.login()):
        answer = await path
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert told(await client.get(access, claims={"jti": "x"})) == PROOF
    client.service.clock.turn(61)
    assert told(await client.get(access, claims={"jti": "x", "iat": NOW})) == PROOF
    client.service.clock.turn(1)
    assert (await client.get(access, claims={"jti": "x"})).status == 200


async def test_refused_logins_fill_no_memory() -> None:
    """Whoever has no account can't fill the memory of proofs; of a login that succeeds the proof works once."""
    client = Bound(dpop_replay_size=1)
    for _ in range(3):
        refused = await client.service.post("/login", json_body(WRONG), client.proof("/auth/login"))
        assert told(refused) == (401, "invalid_grant")
    proof = client.proof("/auth/login")
    assert (await client.login(proof)).status == 200
    writes = client.service.store.writes
    assert told(await client.login(proof)) == GRANT_PROOF
    assert client.service.store.writes == writes


async def test_public_and_optional_paths() -> None:
    """A public path checks no proof; where a token is optional, a bad proof is refused."""
    client = Bound()
    access = (await client.login()).json()["access_token"]
    bad = [("authorization", f"DPoP {access}"), ("dpop", "x")]
    for middleware, path, status in (
        (Guarded(client.service.auth, public="/open"), "/open", 200),
        (Guarded(client.service.auth, optional=True), "/", 401),
    ):
        assert (await middleware.request(path, headers=bad)).status == status


async def test_sockets_by_header() -> None:
    """`htm` is GET, and `htu` has the scheme of HTTP or of WebSockets."""
    client = Bound()
    access = (await client.login()).json()["access_token"]
    for scheme, method, accepted in (
        ("ws", "GET", True),
        ("http", "GET", True),
        ("wss", "GET", False),
        ("ws", "POST", False),
    ):
        shown = client.holder.headers(f"{scheme}://{HOST}/feed", method, access)
        answer = await client.api.connect("/feed", headers=[("host", HOST), *shown])
        assert answer.accepted == accepted
    plain = await client.get(access, claims={"htu": f"ws://{HOST}/orders"})
    assert told(plain) == PROOF


@pytest.mark.parametrize(
    ("offered", "status", "left"),
    tables_of(__file__)["sockets_by_subprotocol"],
)
async def test_sockets_by_subprotocol(offered: str, status: int, left: str) -> None:
    """The token and its proof follow `dpop`, which is selected; the app sees neither."""
    client = Bound(token_sources="header,subprotocol")
    access = (await client.login()).json()["access_token"]
    proof = client.holder.proof(f"ws://{HOST}/feed", "GET", access)
    names = [{"T": access, "P": proof}.get(name, name) for name in offered.split()]
    answer = await client.api.connect("/feed", headers=[("host", HOST)], subprotocols=names)
    if status == 200:
        assert answer.messages[0]["subprotocol"] == "dpop"
        assert client.api.app.calls[-1][0]["subprotocols"] == left.split()
    else:
        assert answer.status == status


@pytest.mark.parametrize(
    ("settings", "url", "scope", "status"),
    [
        ({"dpop_bases": "https://shop.example/api"}, "https://shop.example/api/orders", {}, 200),
        ({"dpop_bases": "HTTPS://Shop.Example:443/api/"}, "https://shop.example/api/orders", {}, 200),
        ({"dpop_bases": "https://a.example,https://b.example"}, "https://b.example/orders", {}, 200),
        ({"dpop_bases": "https://shop.example/api"}, "https://shop.example/orders", {}, 401),
        ({"dpop_bases": "https://shop.example"}, f"{ORIGIN}/orders", {}, 401),
        ({"resource": "https://shop.example/mcp"}, "https://shop.example/orders", {}, 200),
        ({"resource": "https://shop.example/mcp"}, f"{ORIGIN}/orders", {}, 401),
        ({}, "https://api.example/orders", {"scheme": "https"}, 200),
        ({}, "https://api.example/orders", {}, 401),
        ({}, f"{ORIGIN}/%C3%A9%2F", {"path": "/\u00e9/", "raw_path": b"/%C3%A9%2F?page=2"}, 200),
        ({}, f"{ORIGIN}/%C3%A9", {"path": "/\u00e9", "raw_path": None}, 200),
        ({}, f"{ORIGIN}/orders", {"headers": [(b"host", b"a"), (b"host", b"b")]}, 401),
        *(({}, f"{ORIGIN}/a", {"headers": [(b"host", f"{HOST}/a{end}".encode())]}, 401) for end in ("?", "#")),
        *(({}, f"{ORIGIN}/orders", {"scheme": scheme}, 200) for scheme in ("HTTP", None)),
        ({}, f"{ORIGIN}/orders", {"scheme": "gopher"}, 401),
        *(({}, f"{ORIGIN}{path}", {"path": "/", "raw_path": path.encode()}, 401) for path in (".evil/a", ":80/a", "*")),
        *(
            ({"dpop_bases": "https://a.example/b"}, f"https://a.example{end}", {"path": "/", "raw_path": path}, 401)
            for path, end in ((b"/../c", "/c"), (b"/%2E%2e/bc", "/bc"), (b"x", "/bx"))
        ),
        ({"dpop_bases": "https://a.example/b"}, "https://a.example/b/c", {"path": "/c", "raw_path": b"/d/../c"}, 200),
        ({"dpop_bases": "https://a.example/b"}, "https://a.example/b", {"path": "", "raw_path": b""}, 200),
        ({}, f"{ORIGIN}/{'a' * 3072}", {"path": "/", "raw_path": b"/" + b"a" * 3072}, 401),
        ({}, f"http://{'a' * 300}.b/c", {"path": "/c", "headers": [(b"host", b"a" * 300 + b".b")]}, 401),
    ],
)
async def test_the_urls_of_a_resource(settings: dict[str, str], url: str, scope: dict[str, Any], status: int) -> None:
    """`htu` is a base of `DPOP_BASES` and the raw path; without them the origin of `RESOURCE`, else of the request."""
    client = Bound(**{"audience": AUDIENCE, **settings})
    base = "https://shop.example" if "resource" in settings else settings.get("dpop_bases", ORIGIN)
    login = ("dpop", client.holder.proof(base.split(",")[0].rstrip("/") + "/auth/login", "POST"))
    access = (await client.login(login)).json()["access_token"]
    headers = [*scope.get("headers", raw([("host", HOST)])), *raw(client.holder.headers(url, "GET", access))]
    whole = {**http_scope("/orders"), **scope, "headers": headers}
    if whole["scheme"] is None:
        del whole["scheme"]  # ASGI lets a server leave it out
    answer = await exchange(client.api.middleware, whole)
    assert answer.status == status


async def test_long_urls_fill_no_memory() -> None:
    """A URL that is too long for any proof is not kept, whoever sends it."""
    client = Bound()
    kept = uri._normalized.cache_info()
    for number in range(20):
        path = b"/%d/" % number + b"a" * 60_000
        headers = raw([("host", HOST), ("authorization", "DPoP x"), ("dpop", "x")])
        scope = {**http_scope("/"), "raw_path": path, "headers": headers}
        assert (await exchange(client.api.middleware, scope)).status == 401
        assert uri.normalized(f"http://a.example{path.decode()}") is None
    assert uri._normalized.cache_info() == kept


@pytest.mark.parametrize("at", ["login", "resource"])
async def test_hint_at_the_bases(caplog: pytest.LogCaptureFixture, at: str) -> None:
    """The first proof for another URL has the log name `DPOP_BASES`, once; no other fault of a proof does."""
    client = Bound()
    access = (await client.login()).json()["access_token"]
    await client.get(access, claims={"jti": ""})
    assert "DPOP_BASES" not in caplog.text
    for _ in range(2):
        if at == "login":
            assert (await client.login(client.proof("/login"))).status == 400
        else:
            assert (await client.get(access, claims={"htu": f"{ORIGIN}/api/orders"})).status == 401
    assert caplog.text.count("DPOP_BASES") == 1


async def test_a_refused_end_uses_no_proof() -> None:
    """A revoked token may end its own session alone, and its proof is remembered only then."""
    client = Bound()
    access = (await client.login()).json()["access_token"]
    sid = payload(access)["sid"]
    await client.service.auth.revoke_token(access)
    replays: Any = client.service.auth.binding._replays
    remembered = len(replays._digests)
    for end, status in (("another", 401), (sid, 204)):
        url = f"{ORIGIN}/auth/sessions/{end}"
        shown = [("host", HOST), *client.holder.headers(url, "DELETE", access)]
        assert (await client.service.delete(end, *shown)).status == status
        assert len(replays._digests) == remembered + (status == 204)


async def test_metadata() -> None:
    """Both documents name the algorithms of proofs, and say when tokens have to be bound; nothing if DPoP is off."""
    for mode, members in (("on", 1), ("required", 2), ("off", 0)):
        client = Bound(mode, resource="https://api.example/mcp", issuer="https://api.example/auth")
        server = await client.service.get("/.well-known/oauth-authorization-server")
        resource = await client.api.request("/.well-known/oauth-protected-resource/mcp")
        for document in (server.json(), resource.json()):
            told = {name: value for name, value in document.items() if name.startswith("dpop_")}
            assert len(told) == members
            assert told.get("dpop_signing_alg_values_supported", ALGS[6:-1].split()) == ALGS[6:-1].split()
            assert told.get("dpop_bound_access_tokens_required", mode == "required") == (mode == "required")


async def test_a_known_key_is_imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are kept after a proof for a token, by their thumbprints; those of logins are not."""
    imports: list[str] = []

    def counted(jwk: Any, algorithm: str) -> Key:
        imports.append(algorithm)
        return proof_key(jwk, algorithm)

    monkeypatch.setattr(proofs, "proof_key", counted)
    monkeypatch.setattr(proofs, "_MAX_SIGNERS", 1)
    client, other = Bound(), Holder(Clock(NOW))
    access = (await client.login()).json()["access_token"]
    for count in (2, 2, 2):
        assert (await client.get(access)).status == 200
        assert len(imports) == count
    assert (await client.get(access, header={"x": 1})).status == 200
    login = await client.login(("dpop", other.proof(f"{ORIGIN}/auth/login", "POST")))
    assert (await client.get(login.json()["access_token"], holder=other)).status == 200
    assert (await client.get(access)).status == 200
    assert len(imports) == 6


@pytest.mark.parametrize("store", ["memory://", "sqlite:///x.db", None])
def test_a_store_that_remembers_no_proofs(store: str | None) -> None:
    """`DPOP_REPLAY=store` takes a store in Redis or PostgreSQL, and says so at the start."""
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, dpop_replay="store", store=store)
    with pytest.raises(ConfigurationError, match="STORE is missing" if store is None else "Redis or PostgreSQL"):
        Auth(settings)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_replay_at_another_process(valkey: Valkey) -> None:
    """With `DPOP_REPLAY=store` a proof that one process was shown is refused by all; a store that is down is a 503."""
    url = f"{valkey.url}?prefix={uuid4().hex}:"
    holder = Holder(time.time)
    auths = [
        Auth(Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, dpop_replay="store", store=url)) for _ in "ab"
    ]
    access = auths[0].issuer.access_token(Identity("alice"), jkt=holder.thumbprint)
    proof = Proof([holder.proof(ORIGIN, "GET", access).encode()], "GET", ORIGIN)
    assert (await auths[0].verify(access, proof=proof)).subject == "alice"
    with pytest.raises(InvalidProof):
        await auths[1].verify(access, proof=proof)
    for auth in auths:
        await auth.aclose()


async def test_mcp_and_the_gate_of_django() -> None:
    """The verifiers of the MCP SDKs know no proof, so they refuse a bound token; Django's gate asks for the proof."""
    client = Bound()
    access = (await client.login()).json()["access_token"]
    assert await token_verifier(client.service.auth).verify_token(access) is None
    gate = Gate(client.service.auth, optional=False)
    for headers, status in (
        ([("authorization", f"Bearer {access}")], 401),
        (client.holder.headers(f"{ORIGIN}/orders", "GET", access), None),
    ):
        refusal = await gate.ask(http_scope("/orders", headers=[("host", HOST), *headers]))
        assert (None if refusal is None else refusal.status) == status
        shown = [("host", HOST), *client.holder.headers(f"{ORIGIN}/orders", "GET", access)]
        assert await to_thread.run_sync(gate.ask_blocking, http_scope("/orders", headers=shown)) is None
