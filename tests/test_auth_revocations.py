"""Auth and revocations: consulted where there is a store, of whichever issuer the tokens are."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.app import AUDIENCE, ISSUER, NOW, REFRESH_SECRET, SECRET, Recorder, WatchedStore

from asgi_jwt import Auth, ConfigurationError, Identity, JWTMiddleware, Settings
from asgi_jwt.errors import AuthError, RevocationsUnavailable, RevokedToken, StoreUnavailable
from asgi_jwt.events import Event, SessionEnded, TokensRevoked
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.testing import Clock, fake_issuer

pytestmark = pytest.mark.anyio

PARTNER = "https://partner.example"
ALICE = Identity("alice", scopes="read")


def an_auth(store: Any = None, *, partner: bool = False, on_event: Any = None, **settings: Any) -> Auth:
    given = {"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, **settings}
    other = Settings(issuer=PARTNER, audience=AUDIENCE, secret="the partner's secret" * 2)
    return Auth(Settings(**given), issuers=[other] if partner else [], store=store, clock=Clock(NOW), on_event=on_event)


def a_partner() -> Auth:
    return Auth(Settings(issuer=PARTNER, audience=AUDIENCE, secret="the partner's secret" * 2), clock=Clock(NOW))


async def refused(auth: Auth, token: str) -> bool:
    try:
        await auth.verify(token)
    except RevokedToken:
        return True
    return False


async def test_without_a_store_nothing_is_revoked() -> None:
    """Without a store there is no list, whoever asks is told what is missing, and tokens are verified as ever."""
    auth = an_auth()
    token = auth.issuer.access_token(ALICE)
    claims = await auth.verify(token)
    assert auth.verify_cached(token) is claims
    for call in (auth.revoke_token(token), auth.revoke_subject("alice")):
        with pytest.raises(ConfigurationError, match="STORE is missing"):
            await call
    with pytest.raises(ConfigurationError, match="STORE is missing"):
        auth.revocations  # noqa: B018


async def test_warm_tokens_cost_no_call_of_the_store() -> None:
    """What doesn't verify asks for no read.

    While the copy is fresh a token seen before passes at sight; when a read is due, `verify` does it.
    """
    store = WatchedStore(MemoryStore())
    auth = an_auth(store)
    clock: Any = auth.clock
    token = auth.issuer.access_token(ALICE)
    for forged in ("rubbish", token[:-4] + "AAAA"):
        with pytest.raises(AuthError):
            await auth.verify(forged)
    assert store.calls.total() == 0
    claims = await auth.verify(token)
    for _ in range(1000):
        assert auth.verify_cached(token) is claims
        assert await auth.verify(token) is claims
    assert store.calls == {"read_revocations": 1}
    clock.turn(1)
    assert auth.verify_cached(token) is None
    assert await auth.verify(token) is claims
    assert auth.verify_cached(token) is claims
    assert store.calls == {"read_revocations": 2}


@pytest.mark.parametrize("outage", ["closed", "open"])
async def test_out_of_reach(outage: str) -> None:
    """A store that can't be read for too long is a 503, for tokens that were seen before too.

    With `REVOCATION_OUTAGE=open` they pass.
    """
    store = WatchedStore(MemoryStore())
    auth = an_auth(store, revocation_max_staleness=3, revocation_outage=outage)
    clock: Any = auth.clock
    token = auth.issuer.access_token(ALICE)
    await auth.verify(token)
    store.down = {"read_revocations"}
    clock.turn(2.9)
    await auth.verify(token)
    clock.turn(0.2)
    assert auth.verify_cached(token) is None
    with nullcontext() if outage == "open" else pytest.raises(RevocationsUnavailable) as unavailable:
        assert (await auth.verify(token)).subject == "alice"
    if unavailable is not None:
        assert (unavailable.value.status, unavailable.value.reason) == (503, "revocations_unavailable")


async def test_revoke_subject_of_another_issuer() -> None:
    """A partner's token is revoked within the partner's names alone, and so is a partner's user of the same name.

    The user's tokens end, with a session's id or not. An issuer that is not trusted is a mistake of the caller's.
    """
    auth = an_auth(MemoryStore(), partner=True, refresh_secret=REFRESH_SECRET)
    clock: Any = auth.clock
    pair = await auth.sessions.open(ALICE)
    own = auth.issuer.access_token(ALICE)
    one, *theirs = [a_partner().issuer.access_token(ALICE, session_id=sid) for sid in (None, None, "s1")]
    await auth.revoke_token(one)
    assert [await refused(auth, token) for token in (own, one, *theirs)] == [False, True, False, False]
    await auth.revoke_subject("alice", issuer=PARTNER)
    assert [await refused(auth, token) for token in (own, pair.access_token, *theirs)] == [False, False, True, True]
    assert len(await auth.sessions.list("alice")) == 1
    await auth.revoke_subject("alice")
    assert [await refused(auth, token) for token in (own, pair.access_token)] == [True, True]
    assert await auth.sessions.list("alice") == ()
    clock.turn(1)
    assert not await refused(auth, auth.issuer.access_token(ALICE))
    with pytest.raises(ValueError, match="none of those"):
        await auth.revoke_subject("alice", issuer="https://stranger.example")


async def test_revoke_subject_tells() -> None:
    """The events name nobody."""
    heard: list[Event] = []
    auth = an_auth(MemoryStore(), on_event=heard.append, refresh_secret=REFRESH_SECRET)
    await auth.sessions.open(ALICE)
    heard.clear()
    await auth.revoke_subject("alice")
    assert heard == [SessionEnded("ended"), TokensRevoked("sub")]


async def test_service_that_only_verifies_ends_sessions_too() -> None:
    """A service without refresh secret that shares the store revokes a subject with all sessions; tokens with a `sid`
    of which it can't say whether that is a session of the store's, as other issuers have them, end as well."""
    store = MemoryStore()
    login, service = an_auth(store, refresh_secret=REFRESH_SECRET), an_auth(store)
    pair = await login.sessions.open(ALICE)
    foreign = service.issuer.access_token(ALICE, session_id="no session of the store")
    await service.revoke_subject("alice")
    assert [await refused(service, token) for token in (pair.access_token, foreign)] == [True, True]
    with pytest.raises(AuthError):
        await login.sessions.refresh(pair.refresh_token)


async def test_store_that_is_down() -> None:
    """Revoking says when the store did not take it."""
    store = WatchedStore(MemoryStore())
    auth = an_auth(store)
    store.down = {"append_revocations"}
    for call in (auth.revoke_token(auth.issuer.access_token(ALICE)), auth.revoke_subject("alice")):
        with pytest.raises(StoreUnavailable):
            await call


async def test_warm_up_begins_to_read() -> None:
    """The server's start sets the first read off."""
    auth = an_auth(MemoryStore())
    auth.warm_up()
    await auth.revocations.poll()
    assert (auth.revocations.reads, auth.revocations.age) == (1, 0)


async def test_close_and_use_again(tmp_path: Path) -> None:
    """After `aclose` the store is opened again when it is asked, and the log is read from its beginning."""
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, store=f"sqlite:///{tmp_path}/sessions.db")
    auth = Auth(settings, clock=Clock(NOW))
    token = auth.issuer.access_token(ALICE)
    await auth.revoke_token(token)
    before = auth.revocations
    await auth.aclose()
    assert auth.revocations is not before
    assert await refused(auth, token)
    await auth.aclose()


def test_store_that_can_not_be_used_shows_at_the_start() -> None:
    """A URL that names no store is a fault of the settings, for a service that only verifies as well."""
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, store="mysql://root:hunter2@host")
    with pytest.raises(ConfigurationError, match="a store of the scheme 'mysql' does not exist"):
        JWTMiddleware(Recorder(), Auth(settings))


async def test_fake_issuers_tokens_can_be_revoked() -> None:
    """In users' tests, tokens of the throw-away keys are revoked like any other."""
    auth = an_auth(MemoryStore())
    with fake_issuer(auth) as issue:
        token = issue.token("alice")
        await auth.revoke_token(token)
        assert await refused(auth, token)
