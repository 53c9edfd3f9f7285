"""How a change becomes the next version."""

from dataclasses import replace

import pytest

from asgi_jwt.stores.base import next_version
from asgi_jwt.stores.records import Session, SessionKey

SESSION = Session(sid="s1", subject="alice", created_at=1, used_at=2, expires_at=3, ends_at=4, version=7)


def test_first_version_is_1() -> None:
    """Where nothing is stored, versions begin at 1, whatever the change says."""
    assert next_version(SESSION.key, None, SESSION) == replace(SESSION, version=1)


def test_next_version_is_one_above_the_stored() -> None:
    """The stored version counts, not the changed one's."""
    assert next_version(SESSION.key, replace(SESSION, version=3), SESSION) == replace(SESSION, version=4)


@pytest.mark.parametrize("key", [SessionKey("alice", "s2"), SessionKey("bob", "s1")])
def test_record_under_another_key(key: SessionKey) -> None:
    """A change that would file a record where nothing finds it is refused."""
    with pytest.raises(ValueError, match="must keep the subject and sid"):
        next_version(key, None, SESSION)
