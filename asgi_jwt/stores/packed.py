"""Records as stores that outlive a process keep them, in few bytes: JSON arrays, whose members have places.

A session's subject and `sid` are not in it; the key it is kept under has them.
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.records import Client, Revocation, Session, SessionKey

FORMAT = 1
"""Stands first in a record whose members all have places; every release reads it."""

FORMAT_WITH_OTHERS = 2
"""Stands first in a session's record that has one more member: an object of members by name.

A release keeps the named members that it doesn't know, so one that adds members adds them there. A release before this
format takes such a record for one that it can't read (`StoreUnavailable`), and leaves it as it is.
"""


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a claim holds a {type(value).__name__}, which JSON can't tell")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode


def pack(session: Session) -> bytes:
    """The record of `session`. Raises TypeError or ValueError for claims that are no JSON."""
    record = [
        FORMAT,
        session.version,
        session.client_id,
        session.generation,
        session.rotated_branch,
        session.window_at,
        int(session.seen),
        session.created_at,
        session.used_at,
        session.expires_at,
        session.ends_at,
        session.ended_at,
        session.claims,
        session.scopes,
        session.roles,
        session.client.user_agent,
        session.client.address,
    ]
    others = dict(session.others) if session.ending_at is None else {**session.others, "ending_at": session.ending_at}
    if others:
        record[0] = FORMAT_WITH_OTHERS
        record.append(others)
    # A lone surrogate is legal in JSON, and so in a claim, but not in UTF-8.
    return _encode(record).encode("utf-8", "surrogatepass")


def unpack(key: SessionKey, record: bytes) -> Session:
    """The session that `pack` made `record` of. Raises StoreUnavailable for a record of another format."""
    try:
        number, *fields = json.loads(record)
        others = {}
        if number == FORMAT_WITH_OTHERS:
            *fields, others = fields
        elif number != FORMAT:
            raise StoreUnavailable("a session's record is of another format than this release reads")
        version, client_id, generation, rotated_branch, window_at, seen, *fields = fields
        created_at, used_at, expires_at, ends_at, ended_at, claims, scopes, roles, user_agent, address = fields
        return Session(
            sid=key.sid,
            subject=key.subject,
            client_id=client_id,
            generation=generation,
            rotated_branch=rotated_branch,
            window_at=window_at,
            seen=bool(seen),
            created_at=created_at,
            used_at=used_at,
            expires_at=expires_at,
            ends_at=ends_at,
            ending_at=others.pop("ending_at", None),
            ended_at=ended_at,
            version=version,
            claims=MappingProxyType(claims),
            scopes=tuple(scopes),
            roles=tuple(roles),
            client=Client(user_agent, address),
            others=MappingProxyType(others),
        )
    except (AttributeError, TypeError, ValueError) as error:
        why = f"a session's record can't be read: it is damaged, or of another format ({type(error).__name__})"
        raise StoreUnavailable(why) from None


def pack_revocation(revocation: Revocation) -> bytes:
    """The record of `revocation`: ASCII without a line break."""
    return json.dumps([FORMAT, *revocation], separators=(",", ":")).encode()


def unpack_revocations(records: Sequence[bytes]) -> list[Revocation]:
    """What `pack_revocation` made them of. Raises StoreUnavailable for a record of another format."""
    try:
        # At once: read one by one they take an event loop several times as long.
        return [_revocation(*fields) for fields in json.loads(b"[%b]" % b",".join(records))]
    except (TypeError, ValueError) as error:
        raise StoreUnavailable(f"a revocation's record can't be read ({type(error).__name__})") from None


def _revocation(number: int, *fields: Any) -> Revocation:
    if number != FORMAT:
        raise StoreUnavailable("a revocation's record is of another format than this release writes")
    return Revocation(*fields)
