"""The table of forgeries holds at `Auth`, on both event loops."""

import pytest
from support.forgeries import FORGERIES, Forgery
from support.tokens import genuine_token, keys_auth, secret_auth, secret_token

from asgi_jwt.errors import AuthError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_forgery_is_refused_with_its_reason(forgery: Forgery) -> None:
    """P1: Each forgery is refused, twice, with its own reason code, and none is remembered; a missing claim is
    named."""
    auth, token = forgery.auth(), forgery.token()
    for _ in range(2):
        with pytest.raises(AuthError) as refused:
            await auth.verify(token)
        assert refused.value.reason == forgery.reason
        assert forgery.lacks is None or refused.value.detail == forgery.lacks
        assert auth.verify_cached(token) is None
    assert auth.verifier.verified == 0


async def test_what_the_forgeries_are_made_from_is_genuine() -> None:
    """The tokens that the forgeries differ from in one thing are accepted: that one thing is what is refused."""
    assert (await keys_auth().verify(genuine_token())).subject == "alice"
    assert (await secret_auth().verify(secret_token())).subject == "alice"


async def test_forger_gets_no_more_signature_checks_than_keys_fit() -> None:
    """No forgery costs more than one signature check where every key has a `kid`.

    An oversized one, and one whose header is not understood, cost none.
    """
    unchecked = ("token_too_large", "header_unsupported", "algorithm_not_allowed", "key_unknown", "key_unsuitable")
    for name, forgery in FORGERIES.items():
        auth = forgery.auth()
        with pytest.raises(AuthError):
            await auth.verify(forgery.token())
        assert auth.verifier.signature_checks <= (forgery.reason not in unchecked and not name.startswith("kid")), name
