"""What a token of anyone's may cost: how many keys are tried, and where, and how much is parsed."""

import threading
from dataclasses import replace

import pytest
from anyio import create_task_group
from anyio.to_thread import current_default_thread_limiter
from support.tokens import AUDIENCE, ISSUER, NOW, claims, jws

from asgi_jwt.errors import InvalidSignature, MalformedToken
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.trusted import Trust
from asgi_jwt.tokens.verifier import TokenVerifier

pytestmark = pytest.mark.anyio


def nameless_keys(algorithm: str, count: int) -> tuple[list[Key], KeySet]:
    """Fresh keys, and the set that verifies by them, in which none has a `kid`."""
    jwks = [generate_jwk(algorithm) for _ in range(count)]
    keys = [Key.from_jwk({name: value for name, value in jwk.items() if name != "kid"}) for jwk in jwks]
    return keys, KeySet(keys)


def verifier_of(keys: KeySet, algorithm: str) -> TokenVerifier:
    policy = TokenPolicy(issuer=ISSUER, audience=(AUDIENCE,), algorithms=frozenset({algorithm}))
    return TokenVerifier(keys, policy, cache_size=4, clock=lambda: NOW)


def signed_by(key: Key, algorithm: str) -> bytes:
    """A token without a `kid`."""
    return jws({"alg": algorithm}, claims(), lambda message: key.sign(algorithm, message)).encode()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The thread of each signature check."""
    seen: list[int] = []
    verify = Key.verify

    def watched(key: Key, algorithm: str, message: bytes, signature: bytes) -> bool:
        seen.append(threading.get_ident())
        return verify(key, algorithm, message, signature)

    monkeypatch.setattr(Key, "verify", watched)
    return seen


@pytest.mark.parametrize("algorithm", ["ES384", "ES512"])
async def test_slow_keys_are_tried_off_the_event_loop(threads: list[int], algorithm: str) -> None:
    """Where a token may be of several keys that take long to check, the event loop goes on meanwhile.

    Four checks are the most all the same, a good token of any of the keys verifies, and is remembered.
    """
    keys, key_set = nameless_keys(algorithm, 4)
    verifier = verifier_of(key_set, algorithm)
    (stranger,), _ = nameless_keys(algorithm, 1)
    with pytest.raises(InvalidSignature):
        await verifier.verify(signed_by(stranger, algorithm))
    assert (verifier.signature_checks, len(threads)) == (4, 4)
    for position, key in enumerate(keys, start=1):
        token = signed_by(key, algorithm)
        before = verifier.signature_checks
        verified = await verifier.verify(token)
        assert verifier.signature_checks - before == position
        assert verifier.verify_cached(token) is verified
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(("algorithm", "count"), [("ES512", 1), ("ES256", 4), ("EdDSA", 4)])
async def test_quick_keys_are_tried_at_once(threads: list[int], algorithm: str, count: int) -> None:
    """One check, or four quick ones, are not worth a thread."""
    (key, *_), key_set = nameless_keys(algorithm, count)
    await verifier_of(key_set, algorithm).verify(signed_by(key, algorithm))
    assert threads == [threading.get_ident()]


async def test_few_threads_try_slow_keys(threads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many forged tokens come at once, four are checked at a time, and none of the host's threads is taken."""
    lock, at_work, most = threading.Lock(), 0, 0
    verify = Key.verify

    def counted(key: Key, algorithm: str, message: bytes, signature: bytes) -> bool:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        try:
            return verify(key, algorithm, message, signature)
        finally:
            with lock:
                at_work -= 1

    monkeypatch.setattr(Key, "verify", counted)
    verifier = verifier_of(nameless_keys("ES384", 2)[1], "ES384")
    (stranger,), _ = nameless_keys("ES384", 1)
    borrowed: list[float] = []

    async def refuse() -> None:
        borrowed.append(current_default_thread_limiter().borrowed_tokens)
        with pytest.raises(InvalidSignature):
            await verifier.verify(signed_by(stranger, "ES384"))

    async with create_task_group() as group:
        for _ in range(20):
            group.start_soon(refuse)
    assert (len(threads), verifier.signature_checks) == (40, 40)
    assert threading.get_ident() not in threads
    assert most <= 4
    assert set(borrowed) == {0}


@pytest.mark.parametrize(("lists", "checks"), [(498, 1), (500, 0)])
async def test_a_payload_of_many_lists(lists: int, checks: int) -> None:
    """With several issuers the payload is parsed before the signature is checked: of 500 lists and objects at most."""
    (key,), key_set = nameless_keys("ES256", 1)
    policy = TokenPolicy(issuer=ISSUER, audience=(AUDIENCE,), algorithms=frozenset({"ES256"}))
    other = Trust(nameless_keys("ES256", 1)[1], replace(policy, issuer="https://other.example"))
    verifier = TokenVerifier(key_set, policy, cache_size=4, clock=lambda: NOW, others=[other])
    token = jws({"alg": "ES256"}, claims(x=[[]] * lists), lambda message: key.sign("ES256", message))
    if checks:
        await verifier.verify(token.encode())
    else:
        with pytest.raises(MalformedToken):
            await verifier.verify(token.encode())
    assert verifier.signature_checks == checks
