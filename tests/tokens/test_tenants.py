"""Tenants as issuers: whose tokens are accepted, and what tokens of made-up tenants cost."""

import copy
import pickle
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from support.issuers import JWKS, OAUTH, OPENID, IssuerServer
from support.tokens import AUDIENCE, NOW, claims, ec_key, jwk_of, jws, reason, thief_key, token_by

from asgi_jwt import errors
from asgi_jwt.auth import Auth
from asgi_jwt.events import Event, KeysFetched, KeysNotFetched
from asgi_jwt.testing import Clock, fake_issuer
from asgi_jwt.tokens import found_issuers
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.issuer_pattern import IssuerPattern

pytestmark = pytest.mark.anyio


class Realms:
    """An `Auth` for the realms of a real server, with a clock to turn. Each realm has its own metadata and keys."""

    def __init__(self, server: IssuerServer, allowed: str = "a,b", **settings: Any) -> None:
        self.server = server
        self.clock = Clock(NOW)
        self.heard: list[Event] = []
        self.auth = Auth.from_env(
            {
                "ASGI_JWT_ISSUER": f"{server.issuer}/realms/{{realm}}",
                "ASGI_JWT_AUDIENCE": AUDIENCE,
                "ASGI_JWT_DISCOVERY": "true",
                "ASGI_JWT_TENANTS": allowed,
            },
            clock=self.clock,
            on_event=self.heard.append,
            **settings,
        )

    def issuer(self, realm: str) -> str:
        return f"{self.server.issuer}/realms/{realm}"

    def publish(self, realm: str, *jwks: object, **metadata: Any) -> None:
        """From now on the realm has this metadata, and these keys: the key `a`, unless others are given."""
        path = f"/realms/{realm}"
        named = {"issuer": self.issuer(realm), "jwks_uri": self.issuer(realm) + JWKS, **metadata}
        self.server.answer(path + JWKS, {"keys": jwks or [jwk_of(ec_key(), "a")]})
        self.server.describe(path + OPENID, **named)

    def token(self, realm: str, key: Any = None, kid: str = "a", **changes: Any) -> bytes:
        return token_by(key or ec_key(), kid, **{"iss": self.issuer(realm), **changes})

    async def reason(self, token: bytes) -> str | None:
        return await reason(self.auth, token)

    def fetches(self) -> Counter[str]:
        """How often each realm's metadata was fetched."""
        paths = [path for path in self.server.requests if path.endswith(OPENID)]
        return Counter(path.split("/")[2] for path in paths)


async def test_each_tenant_has_its_own_keys(server: IssuerServer) -> None:
    """A listed tenant's keys are fetched with its first token, verify its tokens alone, and its claims name it."""
    realms = Realms(server)
    realms.publish("a")
    realms.publish("b", jwk_of(thief_key(), "a"))
    assert (await realms.auth.verify(realms.token("a"))).tenant == "a"
    assert (await realms.auth.verify(realms.token("b", thief_key()))).tenant == "b"
    assert await realms.reason(realms.token("b")) == await realms.reason(realms.token("a", thief_key()))
    assert await realms.reason(realms.token("b")) == "signature_invalid"
    assert realms.fetches() == {"a": 1, "b": 1}


ODD_TENANTS = [
    *(
        "",
        ".",
        "..",
        ".a",
        "-a",
        "a/b",
        "a/",
        "/a",
        "a/../b",
        "a\\b",
        "a;x",
        "a@evil.example",
        "{realm}",
        "%61",
        "a%2Fb",
    ),
    *("%2e%2e", "%2e%2e%2fa", "a?x", "a#x", "a\0", "a\n", "a ", " a", "\u0430", "\u0661", "a" * 101),
]


def odd_issuers(genuine: str) -> list[str]:
    """Strings that resemble `genuine`, the issuer of the tenant `a`. None of them is an issuer."""
    scheme, _, rest = genuine.partition("://")
    host, _, path = rest.partition("/")
    hosts = (
        "evil.example",
        f"{host}.evil.example",
        f"a@{host}",
        f"{host}@evil.example",
        "127.0.0.1:1",
        "127.0.0.1",
        "",
    )
    return [
        *(genuine.removesuffix("a") + tenant for tenant in ODD_TENANTS),
        *(f"{scheme}://{other}/{path}" for other in hosts),
        *(f"https://{rest}", f"HTTP://{rest}", rest, f" {genuine}", genuine.replace("realms", "realm"), ""),
    ]


@pytest.mark.parametrize("allowed", ["a,b", "*"])
async def test_odd_issuers_are_refused_before_a_fetch(server: IssuerServer, allowed: str) -> None:
    """An `iss` that is not byte for byte the pattern with one path segment is refused, and nothing is fetched."""
    realms = Realms(server, allowed)
    for iss in odd_issuers(realms.issuer("a")):
        assert await realms.reason(realms.token("a", iss=iss)) == "issuer_invalid", iss
    assert server.requests == []


async def test_made_up_tenants_of_a_list_cause_no_fetch(server: IssuerServer) -> None:
    """100,000 tokens of tenants that are not listed cause no fetch, and leave nothing behind."""
    realms = Realms(server)
    realms.publish("a")
    head, _, signature = realms.token("a").split(b".")
    for number in range(100_000):
        assert await realms.reason(made_up(realms, head, signature, number)) == "issuer_invalid"
    assert server.requests == []
    assert await realms.reason(realms.token("a")) is None


def made_up(realms: Realms, head: bytes, signature: bytes, number: int) -> bytes:
    """A token of a tenant that nobody has heard of, with the signature of another token."""
    payload = jws({}, {"iss": realms.issuer(f"t{number}"), "exp": NOW + 600}, lambda _: b"").encode().split(b".")[1]
    return b".".join((head, payload, signature))


async def test_made_up_tenants_of_any_cause_one_fetch_a_second(server: IssuerServer) -> None:
    """With `*`, 100,000 tokens of made-up tenants within 10 seconds cause 10 attempts; a known tenant stays served."""
    realms = Realms(server, "*")
    realms.publish("a")
    assert await realms.reason(realms.token("a")) is None
    head, _, signature = realms.token("a").split(b".")
    reasons: Counter[str | None] = Counter()
    for number in range(100_000):
        if number % 10_000 == 0:
            realms.clock.turn(1)
            assert await realms.reason(realms.token("a", jti=str(number))) is None
        reasons[await realms.reason(made_up(realms, head, signature, number))] += 1
    assert reasons == {"issuer_invalid": 10, "keys_unavailable": 99_990}
    assert realms.fetches().total() == 11


async def test_a_key_that_names_an_issuer(server: IssuerServer) -> None:
    """A key that names tenant A never verifies B. Entra's keys for all tenants verify both, if `tid` is the tenant."""
    realms = Realms(server)
    shared = jwk_of(ec_key(), "shared", issuer=f"{server.issuer}/realms/{{tenantid}}")
    of_a = jwk_of(thief_key(), "a", issuer=realms.issuer("a"))
    for realm in ("a", "b"):
        realms.publish(realm, shared, of_a)
    for realm, other in (("a", "b"), ("b", "a")):
        token = realms.token(realm, kid="shared", tid=realm)
        assert (await realms.auth.verify(token)).tenant == realm
        assert await realms.reason(realms.token(realm, kid="shared", tid=other)) == "claim_invalid"
        assert await realms.reason(realms.token(realm, kid="shared")) == "claim_invalid"
    assert await realms.reason(realms.token("a", thief_key())) is None
    assert await realms.reason(realms.token("b", thief_key())) == "key_unsuitable"
    await wait_all_tasks_blocked()
    assert [event.left_out for event in realms.heard if isinstance(event, KeysFetched)] == [
        (),
        ("Key(kid='a', algorithms=('ES256',)) names another issuer",),
    ]


async def test_a_key_for_tenants_of_another_host(server: IssuerServer) -> None:
    """A key whose template leads to another issuer verifies nothing, whatever `tid` says."""
    realms = Realms(server)
    realms.publish("a", jwk_of(ec_key(), "a", issuer="https://evil.example/realms/{tenantid}"))
    assert await realms.reason(realms.token("a", tid="a")) == "key_unsuitable"


WRONG_METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "of another tenant": ({"issuer": "b"}, "names another issuer"),
    "of a template": ({"issuer": "{realm}"}, "names another issuer"),
    "keys of another port": ({"jwks_uri": "http://127.0.0.1:1/jwks"}, "has another origin"),
    "keys of another host": ({"jwks_uri": "https://evil.example/jwks"}, "has another origin"),
    "keys of another name": ({"jwks_uri": "http://localhost:{port}/jwks"}, "has another origin"),
}


@pytest.mark.parametrize("name", WRONG_METADATA)
async def test_metadata_that_leads_elsewhere(server: IssuerServer, name: str) -> None:
    """Metadata that names another issuer, or keys of another origin, is a failure of the server, and no key is read."""
    wrong, why = WRONG_METADATA[name]
    realms = Realms(server)
    port = server.issuer.rpartition(":")[2]
    wrong = {each: value.replace("{port}", port) for each, value in wrong.items()}
    if "issuer" in wrong:
        wrong["issuer"] = realms.issuer(wrong["issuer"])
    realms.publish("a", **wrong)
    assert await realms.reason(realms.token("a")) == "keys_unavailable"
    assert server.requests == [f"/realms/a{OPENID}"]
    await wait_all_tasks_blocked()
    assert [why in event.why for event in realms.heard if isinstance(event, KeysNotFetched)] == [True]


async def test_redirects_are_not_followed(server: IssuerServer) -> None:
    """Metadata that has moved is no metadata."""
    realms = Realms(server)
    realms.publish("b")
    server.answer(f"/realms/a{OPENID}", b"", status=302, location=f"{realms.issuer('b')}{OPENID}")
    assert await realms.reason(realms.token("a")) == "keys_unavailable"
    assert f"/realms/b{OPENID}" not in server.requests


@pytest.mark.parametrize("allowed", ["a,b", "*"])
@pytest.mark.parametrize(
    ("status", "reason"), [(404, "issuer_invalid"), (400, "keys_unavailable"), (500, "keys_unavailable")]
)
async def test_a_failure_is_held(server: IssuerServer, status: int, reason: str, allowed: str) -> None:
    """A tenant without metadata (404) is refused, any other failure is a 503. Both are held for 60 seconds."""
    realms = Realms(server, allowed)
    for path in (f"/realms/a{OPENID}", f"{OAUTH}/realms/a"):
        server.answer(path, b"", status=status)
    for _ in range(3):
        assert await realms.reason(realms.token("a")) == reason
        realms.clock.turn(19)
    assert realms.fetches() == {"a": 1}
    realms.publish("a")
    assert await realms.reason(realms.token("a")) == reason
    realms.clock.turn(3)
    assert await realms.reason(realms.token("a")) is None
    assert realms.fetches() == {"a": 2}


async def test_keys_that_are_not_there(server: IssuerServer) -> None:
    """If the metadata is there and its keys are not, the tenant exists, and its server fails."""
    realms = Realms(server)
    realms.publish("a")
    server.answer(f"/realms/a{JWKS}", b"", status=404)
    assert await realms.reason(realms.token("a")) == "keys_unavailable"


async def test_a_forged_token_locks_no_tenant_out(server: IssuerServer) -> None:
    """The keys that a forged token had fetched verify the tenant's next token, without a further fetch."""
    realms = Realms(server, "*")
    realms.publish("a")
    for _ in range(3):
        assert await realms.reason(realms.token("a", thief_key())) == "signature_invalid"
        assert await realms.reason(realms.token("a", kid="unknown")) == "key_unknown"
    assert await realms.reason(realms.token("a", aud="other")) == "audience_invalid"
    assert await realms.reason(realms.token("a")) is None
    assert realms.fetches() == {"a": 1}


async def test_malformed_tokens_count_as_no_attempt(server: IssuerServer) -> None:
    """A token that no key could verify does not use up the one attempt of this second."""
    realms = Realms(server, "*")
    realms.publish("a")
    none = jws({"alg": "none"}, claims(iss=realms.issuer("b")), lambda _: b"").encode()
    assert await realms.reason(none) == "algorithm_not_allowed"
    assert await realms.reason(realms.token("a")) is None


async def test_one_flight_for_a_tenant(server: IssuerServer) -> None:
    """200 tokens of one new tenant at once cause one attempt, and all are accepted."""
    realms = Realms(server, "*")
    realms.publish("a")
    reasons: list[str | None] = []

    async def one(number: int) -> None:
        reasons.append(await realms.reason(realms.token("a", jti=str(number))))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(one, number)
    assert (reasons, realms.fetches()) == ([None] * 200, {"a": 1})


async def test_only_verified_tokens_enter_the_kept_tenants(
    server: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up tokens push no tenant out. The tenant that leaves is the one that verified no token for longest."""
    monkeypatch.setattr(found_issuers, "MAX_KEPT", 2)
    realms = Realms(server, "a,b,c,d")
    for realm in "abcd":
        realms.publish(realm)
    token = realms.token("b")
    for each in (realms.token("a"), token):
        assert await realms.reason(each) is None
    for realm in "cd":
        assert await realms.reason(realms.token(realm, thief_key())) == "signature_invalid"
        assert await realms.reason(realms.token(realm, aud="other")) == "audience_invalid"
    assert await realms.reason(realms.token("a", jti="2")) is None
    assert realms.fetches() == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert await realms.reason(realms.token("c")) is None
    assert realms.auth.verify_cached(token) is None, "the tokens of a tenant leave with it"
    assert await realms.reason(realms.token("a", jti="3")) is None
    assert await realms.reason(realms.token("b", jti="2")) is None
    assert realms.fetches() == {"a": 1, "b": 2, "c": 1, "d": 1}


async def test_a_tenant_off_the_list(server: IssuerServer) -> None:
    """A tenant that is taken off the list is refused at the next start, without a fetch."""
    realms = Realms(server)
    realms.publish("a")
    token = realms.token("a")
    assert await realms.reason(token) is None
    server.requests.clear()
    assert await Realms(server, "b").reason(token) == "issuer_invalid"
    assert server.requests == []


async def test_the_keys_of_a_kept_tenant_are_followed(server: IssuerServer) -> None:
    """Once a token was verified, the tenant's keys are fetched again as those of any issuer, without the limits above.

    A withdrawn key takes its cached tokens along.
    """
    realms = Realms(server, "*")
    for realm in "ab":
        realms.publish(realm)
        realms.clock.turn(1)
        assert await realms.reason(realms.token(realm)) is None
    realms.clock.turn(40)
    for realm in "ab":
        realms.publish(realm, jwk_of(thief_key(), "new"))
        token = realms.token(realm, thief_key(), "new")
        assert await realms.reason(token) is None
        assert await realms.reason(realms.token(realm)) == "key_unknown"
        assert realms.auth.verify_cached(token) is not None


async def test_a_kept_tenant_that_is_gone_and_comes_back(server: IssuerServer) -> None:
    """When the keys of a kept tenant are too old to use, its metadata decides: 401 for a 404, else 503."""
    realms = Realms(server)
    realms.publish("a")
    assert await realms.reason(realms.token("a")) is None
    realms.clock.turn(600 + 3600)
    server.answer(f"/realms/a{JWKS}", b"", status=404)
    for status, why in ((200, "keys_unavailable"), (404, "issuer_invalid"), (500, "keys_unavailable")):
        if status != 200:
            for path in (f"/realms/a{OPENID}", f"{OAUTH}/realms/a"):
                server.answer(path, b"", status=status)
        assert await realms.reason(realms.token("a", exp=NOW + 9000)) == why
        realms.clock.turn(1)
    realms.publish("a")
    assert await realms.reason(realms.token("a", exp=NOW + 9000)) is None


async def test_the_tenant_is_part_of_each_copy(server: IssuerServer) -> None:
    """`claims.tenant` survives a copy, a deep copy and pickling. Without a placeholder it is None."""
    realms = Realms(server)
    realms.publish("a")
    claims = await realms.auth.verify(realms.token("a"))
    for original, tenant in ((claims, "a"), (Claims({"sub": "alice"}), None)):
        pickled = pickle.loads(pickle.dumps(original))  # noqa: S301
        for each in (copy.copy(original), copy.deepcopy(original), pickled):
            assert (each.tenant, each == original) == (tenant, True)


async def test_a_cached_token_costs_the_same_with_many_tenants(server: IssuerServer) -> None:
    """A token that was seen before takes as many steps with 200 kept tenants as with one."""
    realms = Realms(server, ",".join(f"t{number}" for number in range(200)))
    steps = []
    for number in range(200):
        realms.publish(f"t{number}")
        token = realms.token(f"t{number}")
        assert await realms.reason(token) is None
        if number in (0, 199):
            with counting() as counted:
                assert realms.auth.verify_cached(token) is not None
            steps.append(counted[0])
    assert steps[0] == steps[1] > 0


@contextmanager
def counting() -> Iterator[list[int]]:
    """Counts the lines of Python that are run within the block."""
    counted = [0]

    def trace(*_: object) -> Any:
        counted[0] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield counted
    finally:
        sys.settrace(before)


async def test_a_bearer_token_for_the_keys(server: IssuerServer, tmp_path: Path) -> None:
    """`JWKS_TOKEN_FILE` is sent with each fetch, because all tenants are at one origin."""
    file = tmp_path / "token"
    file.write_text("secret-of-the-cluster")
    realms = Realms(server, jwks_token_file=file)
    realms.publish("a")
    assert await realms.reason(realms.token("a")) is None
    assert [each["authorization"] for each in server.headers] == ["Bearer secret-of-the-cluster"] * 2


async def test_metrics_name_the_pattern(server: IssuerServer) -> None:
    """Events and ages of keys are labelled by the pattern, and the age is that of the oldest keys."""
    realms = Realms(server)
    for realm in "ab":
        realms.publish(realm)
        assert await realms.reason(realms.token(realm)) is None
        realms.clock.turn(5)
    pattern = realms.issuer("{realm}")
    assert realms.auth.verifier.key_ages() == {pattern: 10}
    await wait_all_tasks_blocked()
    assert {event.source for event in realms.heard if isinstance(event, KeysFetched)} == {pattern}


async def test_readiness_asks_for_no_tenant(server: IssuerServer) -> None:
    """`ready` and `warm_up` fetch nothing, because no tenant is needed more than another."""
    realms = Realms(server)
    realms.auth.warm_up()
    await realms.auth.ready()
    assert server.requests == []


async def test_a_fake_issuer_of_any_tenant(server: IssuerServer) -> None:
    """`fake_issuer` issues for each allowed tenant and refuses others, and nothing is fetched."""
    for allowed, default in (("b,a", "b"), ("*", "tenant")):
        realms = Realms(server, allowed)
        with fake_issuer(realms.auth) as issue:
            assert (await realms.auth.verify(issue.token())).tenant == default
            assert (await realms.auth.verify(issue.token(tenant="a"))).tenant == "a"
            with pytest.raises(ValueError, match=r"TENANTS does not allow '\.\.'"):
                issue.token(tenant="..")
            with pytest.raises(errors.WrongIssuer):
                await realms.auth.verify(issue.token(claims={"iss": realms.issuer("..")}))
    assert server.requests == []


async def test_revoking_a_tenants_subject(server: IssuerServer) -> None:
    """`revoke_subject` takes the issuer of a tenant, and needs it where the settings name none."""
    realms = Realms(server, store="memory://")
    for realm in "ab":
        realms.publish(realm)
        assert await realms.reason(realms.token(realm)) is None
    await realms.auth.revoke_subject("alice", issuer=realms.issuer("a"))
    assert await realms.reason(realms.token("a")) == "token_revoked"
    assert await realms.reason(realms.token("b")) is None
    for issuer in (None, realms.issuer("c"), realms.issuer("{realm}")):
        with pytest.raises(ValueError, match="the issuer is none of those"):
            await realms.auth.revoke_subject("alice", issuer=issuer)


async def test_forgetting_a_tenant(server: IssuerServer) -> None:
    """`forget_issuer` drops the keys and the cached tokens of one tenant, and its next token has the keys fetched."""
    realms = Realms(server)
    tokens = {realm: realms.token(realm) for realm in "ab"}
    for realm, token in tokens.items():
        realms.publish(realm)
        assert await realms.reason(token) is None
    realms.publish("a", jwk_of(thief_key(), "a"))
    realms.auth.forget_issuer(realms.issuer("a"))
    assert [realms.auth.verify_cached(token) is None for token in tokens.values()] == [True, False]
    assert await realms.reason(tokens["a"]) == "signature_invalid"
    assert await realms.reason(realms.token("a", thief_key())) is None
    assert realms.fetches() == {"a": 2, "b": 1}


async def test_forgetting_a_tenant_during_its_fetch(server: IssuerServer) -> None:
    """Keys whose fetch was under way when the tenant was forgotten verify nothing."""
    realms = Realms(server)
    realms.publish("a")
    reasons: list[str | None] = []
    others: list[Any] = []

    async def one() -> None:
        reasons.append(await realms.reason(realms.token("a")))

    async def of_another_kind() -> None:
        others.append(await realms.auth.verifier.verify_signature(realms.token("a"), frozenset({"at+jwt"})))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            with server.holding():
                group.start_soon(one)
                group.start_soon(of_another_kind)
                await server.request()
                realms.auth.forget_issuer(realms.issuer("a"))
    assert (reasons, len(others), realms.fetches()) == ([None], 1, {"a": 2})


async def test_a_forgotten_tenant_does_not_come_back(server: IssuerServer) -> None:
    """A token with an unknown `kid` that waits for the keys of a forgotten tenant has them fetched for nobody."""
    realms = Realms(server)
    realms.publish("a")
    reasons: list[str | None] = []

    async def one() -> None:
        reasons.append(await realms.reason(realms.token("a", kid="unknown")))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            with server.holding():
                group.start_soon(one)
                await server.request()
                realms.auth.forget_issuer(realms.issuer("a"))
                realms.clock.turn(31)
    assert reasons == ["key_unknown"]
    assert await realms.reason(realms.token("a")) is None
    assert realms.fetches() == {"a": 2}


async def test_failures_are_forgotten(server: IssuerServer) -> None:
    """With `*`, what is held of made-up tenants is bounded: 60 seconds of one attempt each."""
    realms = Realms(server, "*")
    for number in range(100):
        assert await realms.reason(realms.token(f"t{number}")) == "issuer_invalid"
        realms.clock.turn(1)
    assert len(vars(realms.auth.verifier._finders[0])["_tried"]) == 60


def test_the_form_of_a_tenant() -> None:
    """A tenant has 1 to 100 ASCII letters, digits, dots, underscores and dashes, and begins with a letter or digit."""
    pattern = IssuerPattern.parse("https://issuer.example/{t}/v2.0", None)
    for tenant in ("a", "0", "a..b", "A-b_c.d", "x" * 100):
        assert pattern.tenant_of(f"https://issuer.example/{tenant}/v2.0") == tenant
    for tenant in ("", ".", "..", "_a", "-a", "x" * 101, "a/b", "\u0661", "a\n", "/v2.0"):
        assert pattern.tenant_of(f"https://issuer.example/{tenant}/v2.0") is None
    for iss in ("https://issuer.example/v2.0", "https://issuer.example//v2.0", "https://issuer.example/a/v2.0/"):
        assert pattern.tenant_of(iss) is None
