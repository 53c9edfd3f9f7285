"""What the demo suggests to try."""

from pathlib import Path

import pytest

from asgi_jwt import AuthError
from asgi_jwt.commands.key_files import make_file
from asgi_jwt.demo.attempts import demo_auth, make_attempts
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.key_rotation import generate_jwk

EXPECTED = [
    ("No token", 401, None),
    ("A good token", 200, None),
    ("An expired token", 401, "token_expired"),
    ("A tampered token, its subject changed", 401, "signature_invalid"),
    ("A token for another audience", 401, "audience_invalid"),
]

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The demo's key file."""
    make_file(tmp_path / "keys.json", [generate_jwk("EdDSA")])
    return tmp_path / "keys.json"


async def test_each_token_is_what_its_title_says(keys: Path) -> None:
    """Every attempt is refused for the reason in its title, and for no other; the good one is let in."""
    auth = demo_auth(keys)
    seen = []
    for attempt in make_attempts(keys):
        reason = None
        if attempt.token is not None:
            try:
                await auth.verify(attempt.token)
            except AuthError as error:
                reason = error.reason
        seen.append((attempt.title, attempt.status, reason))
    assert seen == EXPECTED


async def test_the_good_token_lasts_an_hour(keys: Path) -> None:
    """The good token holds for an hour, but for the leeway, and not for longer."""
    clock = Clock()
    auth = demo_auth(keys, clock=clock)
    good = next(attempt.token for attempt in make_attempts(keys, clock=clock) if attempt.status == 200)
    assert good is not None
    clock.turn(3_590)
    assert (await auth.verify(good)).subject == "alice"
    clock.turn(60)
    with pytest.raises(AuthError, match="expired"):
        await auth.verify(good)


def test_command(keys: Path) -> None:
    """A command asks for the protected page, with the token where the attempt bears one."""
    without, good, *_ = make_attempts(keys)
    assert without.command("http://127.0.0.1:1") == "curl -i http://127.0.0.1:1/api/me"
    assert good.command("http://127.0.0.1:1") == (
        f'curl -i http://127.0.0.1:1/api/me -H "Authorization: Bearer {good.token}"'
    )
