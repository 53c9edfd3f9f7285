"""Tokens that are no JWT, as API keys: which of them verifiers are asked about, and how long their answers hold."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import Any

import anyio
import pytest
from support.app import AUDIENCE, ISSUER, SECRET, Guarded, WatchedStore, make_token
from support.tokens import NOW, reason, segment
from support.waiting import until

from asgi_jwt import Auth, Claims, ConfigurationError, Settings, errors
from asgi_jwt.events import Event, TokenRefused, VerifierFailed
from asgi_jwt.testing import Clock
from asgi_jwt.tokens import discovery, opaque

pytestmark = pytest.mark.anyio

KEYS = "https://keys.example"
KEY = "sk_live_51H.key-of-alice"
ALICE = {"iss": KEYS, "sub": "alice", "scope": "orders:read"}


class Known:
    """A verifier that knows these tokens, and counts what it is asked. A value that is an exception is raised."""

    def __init__(self, tokens: Mapping[str, Any]) -> None:
        self.tokens = dict(tokens)
        self.asked: Counter[str] = Counter()

    async def verify(self, token: str) -> Claims | None:
        self.asked[token] += 1
        found = self.tokens.get(token)
        if isinstance(found, Exception):
            raise found
        return Claims(found) if isinstance(found, dict) else found


class Calling:
    """A verifier that is a function."""

    def __init__(self, verify: Callable[[str], Awaitable[Any]], **attributes: Any) -> None:
        self.verify = verify
        vars(self).update(attributes)


def auth_of(*verifiers: Any, store: Any = None, on_event: Any = None, **settings: Any) -> Auth:
    given = Settings(**{"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, **settings})
    return Auth(given, verifiers=verifiers, store=store, on_event=on_event, clock=Clock(NOW))


def turn(auth: Auth, seconds: float) -> None:
    assert isinstance(auth.clock, Clock)
    auth.clock.turn(seconds)


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_an_api_key() -> None:
    """A request with a known key is its user's, also by the cache alone, and one with an unknown key is a 401."""
    known = Known({KEY: ALICE})
    guarded = Guarded(auth_of(known))
    for _ in range(3):
        assert (await guarded.request(headers=bearing(KEY))).status == 200
    assert (guarded.app.subject, known.asked) == ("alice", {KEY: 1})
    claims = guarded.auth.verify_cached(KEY)
    assert claims is not None
    assert (claims.scopes, claims.expires_at) == (frozenset({"orders:read"}), inf)
    refused = await guarded.request(headers=bearing("unknown"))
    assert refused.error == (401, "invalid_token")
    assert refused.json()["error_description"] == "The access token is unknown or no longer active"
    assert (await guarded.request(headers=authorization_of(guarded.auth))).status == 200


def authorization_of(auth: Auth) -> dict[str, str]:
    return bearing(make_token(auth))


HEADER, PAYLOAD = segment({"alg": "HS256"}), segment({"sub": "alice"})
JWT = f"{HEADER}.{PAYLOAD}.c2ln"
ASKED = [
    "key",
    "1|key",
    "a:b",
    "a.b",
    "a.b.c",
    "a.b.c.d",
    "..",
    f"{segment(b'[1]')}.{PAYLOAD}.x",
    f"{HEADER}.{PAYLOAD}",
]
ASKED += [f"{JWT}.", f"{HEADER}.{PAYLOAD}==.c2ln", f"{JWT}=="]
NOT_ASKED = [
    JWT,
    f"{HEADER}.{PAYLOAD}.",
    f"{HEADER}..",
    f"{segment({})}.a.b",
    f"{JWT}!",
    "k" * 8193,
    "k\xe9y",
    "k y",
    "",
]


@pytest.mark.parametrize(("token", "asked"), [(t, True) for t in ASKED] + [(t, False) for t in NOT_ASKED])
async def test_which_tokens_are_asked_about(token: str, asked: bool) -> None:
    """Those that are no JWT by their form. No verifier sees a JWT, good or bad, one past the size limit, or one that is
    no printable ASCII."""
    first, second = Known({}), Known({token: ALICE})
    auth = auth_of(first, second)
    if asked:
        assert (await auth.verify(token)).subject == "alice"
    else:
        await reason(auth, token)
    assert first.asked == second.asked == ({token: 1} if asked else {})


WRONG = {
    "no issuer": ({"sub": "alice"}, "claim_missing"),
    "no subject": ({"iss": KEYS}, "claim_missing"),
    "an empty issuer": ({**ALICE, "iss": ""}, "claims_malformed"),
    "an issuer that is no text": ({**ALICE, "iss": 7}, "claims_malformed"),
    "an empty subject": ({**ALICE, "sub": ""}, "claims_malformed"),
    "expired": ({**ALICE, "exp": NOW - 30}, "token_expired"),
    "an end that is no number": ({**ALICE, "exp": "tomorrow"}, "claims_malformed"),
    "no end but null": ({**ALICE, "exp": None}, "claims_malformed"),
    "not yet": ({**ALICE, "nbf": NOW + 31}, "token_not_yet_valid"),
    "made later": ({**ALICE, "iat": NOW + 31}, "token_issued_in_future"),
    "a name that is no text": ({**ALICE, "jti": 7}, "claims_malformed"),
    "bound to a key": ({**ALICE, "cnf": {"jkt": "x"}}, "proof_invalid"),
    "the answer of the verifier": (errors.TooManyAttempts(7), "too_many_attempts"),
    "a child of the host's": (errors.RefusedToken(), "token_refused"),
}


@pytest.mark.parametrize(("found", "told"), WRONG.values(), ids=WRONG)
async def test_claims_that_are_refused(found: Any, told: str) -> None:
    """A verifier's claims need an issuer and a subject, and their times count; its own `AuthError` is the answer. The
    verifier behind it is then not asked."""
    behind = Known({KEY: ALICE})
    auth = auth_of(Known({KEY: found}), behind)
    assert await reason(auth, KEY) == told
    assert (behind.asked, auth.verify_cached(KEY)) == ({}, None)


async def test_other_rules_of_jwts_are_not_asked() -> None:
    """Neither the audience, nor the type, nor the required claims are a verifier's."""
    auth = auth_of(Known({KEY: {**ALICE, "aud": "other", "type": "key"}}), required_claims="email")
    assert (await auth.verify(KEY)).issuer == KEYS


FAULTS = [RuntimeError(f"no row for {KEY}"), TimeoutError(KEY), ExceptionGroup(KEY, [ValueError(KEY)]), "alice", True]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_a_verifier_that_fails(fault: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Anything but claims, None and an `AuthError` is a 503, is asked again, and shows no token in logs and errors."""
    caplog.set_level(logging.DEBUG)
    heard: list[Event] = []
    known = Known({KEY: fault})
    guarded = Guarded(auth_of(known, on_event=heard.append))
    for _ in range(2):
        answer = await guarded.request(headers=bearing(KEY))
        assert (answer.error, answer.headers["retry-after"]) == ((503, "temporarily_unavailable"), "1")
    assert known.asked == {KEY: 2}
    failed, refused = heard[:2]
    assert isinstance(failed, VerifierFailed)
    assert (failed.verifier, refused) == ("Known", TokenRefused("verifier_unavailable", 503, "http"))
    if isinstance(fault, RuntimeError):
        assert failed.why.startswith("RuntimeError at test_opaque.py:")
    with pytest.raises(errors.VerifierUnavailable) as away:
        await guarded.auth.verify(KEY)
    assert KEY not in f"{away.getrepr(style='short')} {heard} {guarded.auth!r} {caplog.text}"


async def test_a_verifier_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 5 s it is a 503, and the next request asks again."""

    async def verify(token: str) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(discovery, "FETCH_TIMEOUT", 0.05)
    assert await reason(auth_of(Calling(verify)), KEY) == "verifier_unavailable"


async def test_a_verifier_that_is_no_coroutine() -> None:
    """A sync `verify` is called in a thread, as other functions of the host are."""
    sync: Any = lambda token: Claims(ALICE)  # noqa: E731
    assert (await auth_of(Calling(sync)).verify(KEY)).subject == "alice"


async def test_a_stampede() -> None:
    """One question serves all requests with one token, and one of them that leaves takes none of the others along."""
    asked, answered = anyio.Event(), anyio.Event()
    count = Counter[str]()

    async def verify(token: str) -> Claims:
        count[token] += 1
        asked.set()
        await answered.wait()
        return Claims(ALICE)

    auth = auth_of(Calling(verify))
    found: list[Claims] = []

    async def request() -> None:
        found.append(await auth.verify(KEY))

    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(request)
            await asked.wait()
            for _ in range(50):
                group.start_soon(request)
            await anyio.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
        answered.set()
    assert (len(found), len(set(map(id, found))), count) == (50, 1, {KEY: 1})


@pytest.mark.parametrize(
    ("claims", "ttl", "holds"),
    [(ALICE, None, 60), (ALICE, 5, 5), (ALICE, 0, 0), ({**ALICE, "exp": NOW + 600}, 5, 630), (ALICE, 2.5, 2.5)],
)
async def test_how_long_claims_hold(claims: dict[str, Any], ttl: float | None, holds: float) -> None:
    """With `exp` until then, with the leeway; without it for the `ttl` of the verifier, 60 s by default."""
    known = Known({KEY: claims})
    vars(known).update({} if ttl is None else {"ttl": ttl})
    auth = auth_of(known)
    first = await auth.verify(KEY)
    if holds:
        turn(auth, holds - 0.01)
        assert auth.verify_cached(KEY) is first
        turn(auth, 0.01)
    assert auth.verify_cached(KEY) is None
    known.tokens[KEY] = {**ALICE, "sub": "bob"}
    assert (await auth.verify(KEY)).subject == "bob"
    known.tokens.clear()
    for seconds in (-1, 1):
        turn(auth, seconds)
        assert await reason(auth, KEY) == "token_inactive"


async def test_no_more_than_so_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest leave, and made-up tokens push none out."""
    monkeypatch.setattr(opaque, "MAX_HELD", 2)
    auth = auth_of(Known(dict.fromkeys("abc", ALICE)))
    for token in "abc":
        await auth.verify(token)
    for number in range(5):
        assert await reason(auth, f"made-up-{number}") == "token_inactive"
    assert [auth.verify_cached(token) is not None for token in "abc"] == [False, True, True]


async def test_revocation_holds_for_them() -> None:
    """By `jti`, and by subject and issuer, also for a cached one and one without an end; one with neither `jti` nor
    `sid` can't be revoked singly."""
    known = Known({KEY: {**ALICE, "jti": "1"}, "b": {**ALICE, "sub": "bob"}})
    auth = auth_of(known, store=WatchedStore())
    await auth.verify("b")
    await auth.revoke_token(KEY)
    assert await reason(auth, KEY) == "token_revoked"
    with pytest.raises(errors.MissingClaim):
        await auth.revoke_token("b")
    await auth.verify("b")
    await auth.revoke_subject("bob", issuer=KEYS)
    assert (auth.verify_cached("b"), await reason(auth, "b")) == (None, "token_revoked")
    with pytest.raises(ValueError, match="none of those"):
        await auth_of(store=WatchedStore()).revoke_subject("bob", issuer=KEYS)


async def test_an_issuer_that_is_forgotten() -> None:
    """The verifier is asked again about the tokens of that issuer, and not about others."""
    known = Known({KEY: ALICE, "b": {**ALICE, "iss": ISSUER}})
    auth = auth_of(known)
    await auth.verify(KEY)
    await auth.verify("b")
    auth.forget_issuer(KEYS)
    assert [auth.verify_cached(token) is None for token in (KEY, "b")] == [True, False]


async def test_validate_is_asked() -> None:
    """The host's `validate` sees the claims of a key as those of a JWT."""
    guarded = Guarded(auth_of(Known({KEY: ALICE})), validate=lambda claims, scope: claims.subject != "alice")
    assert (await guarded.request(headers=bearing(KEY))).error == (401, "invalid_token")


async def test_an_issuer_that_is_forgotten_during_a_question() -> None:
    """An answer that was under way is not used: the verifier is asked again, once, for all who wait."""
    asked, go_on = [0], anyio.Event()

    async def verify(token: str) -> Claims | None:
        asked[0] += 1
        known = asked[0] == 1
        await go_on.wait()
        return Claims(ALICE) if known else None

    auth = auth_of(Calling(verify))
    reasons: list[str | None] = []

    async def one() -> None:
        reasons.append(await reason(auth, KEY))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(one)
        await until(lambda: asked == [1])
        auth.forget_issuer("https://other.example")
        auth.forget_issuer(KEYS)
        go_on.set()
    assert (reasons, asked, auth.verify_cached(KEY)) == (["token_inactive"] * 3, [2], None)


@pytest.mark.parametrize("verifier", [Known, object(), "key", Calling(Known({}).verify, ttl=-1)])
@pytest.mark.parametrize("ttl", ["60", None, True, float("nan")])
def test_verifiers_that_cant_be_used(verifier: Any, ttl: object) -> None:
    """A class in the place of its instance, an object without `verify`, and a `ttl` that is no time, are refused."""
    for given in (verifier, Calling(Known({}).verify, ttl=ttl)):
        with pytest.raises(ConfigurationError, match="verifiers= takes "):
            auth_of(given)


def test_a_question_ends_with_its_event_loop() -> None:
    """A loop that ends amid a question leaves nothing behind that the next one would wait for."""
    asked: list[str] = []

    async def verify(token: str) -> Claims:
        asked.append(token)
        if len(asked) < 3:
            await anyio.sleep_forever()
        return Claims(ALICE)

    auth = auth_of(Calling(verify))

    async def leave(runs: int) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(auth.verify, KEY)
            await until(lambda: len(asked) == runs)
            group.cancel_scope.cancel()

    anyio.run(leave, 1, backend="asyncio")
    anyio.run(leave, 2, backend="trio")
    assert anyio.run(auth.verify, KEY).subject == "alice"
