"""The encoding of records in persistent stores: JSON arrays, in which each member has its place, to save bytes.

The record of a session has no subject and no `sid`, because the key of the record has them.
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.records import Client, Revocation, Session, SessionKey

FORMAT = 1
"""The first member of a record in which each member has its place. Every release reads this format."""

FORMAT_WITH_OTHERS = 2
"""The first member of a session's record whose last member is an object with further members by name.

A release that adds members adds them to this object. A release keeps the members that it does not know. A release
older than this format can't read such a record: it raises `StoreUnavailable`, and does not overwrite the record.
"""

_NAMED = ("ending_at", "jkt", "acr", "amr", "remember")
"""The members of a session that are written by name, if they are there."""


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a claim holds a {type(value).__name__}, which JSON can't express")


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
    named = {name: value for name in _NAMED if (value := getattr(session, name)) not in (None, ())}
    if others := {**session.others, **named}:
        record[0] = FORMAT_WITH_OTHERS
        record.append(others)
    # JSON, and so a claim, may contain a lone surrogate, which plain UTF-8 can't encode.
    return _encode(record).encode("utf-8", "surrogatepass")


def unpack(key: SessionKey, record: bytes) -> Session:
    """The session of a record that `pack` made. Raises StoreUnavailable for a damaged record or another format."""
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
            ended_at=ended_at,
            version=version,
            claims=MappingProxyType(claims),
            scopes=tuple(scopes),
            roles=tuple(roles),
            client=Client(user_agent, address),
            ending_at=others.pop("ending_at", None),
            jkt=others.pop("jkt", None),
            acr=others.pop("acr", None),
            amr=tuple(others.pop("amr", ())),
            remember=others.pop("remember", None),
            others=MappingProxyType(others),
        )
    except (AttributeError, TypeError, ValueError) as error:
        why = f"a session's record can't be read: it is damaged, or of another format ({type(error).__name__})"
        raise StoreUnavailable(why) from None


def pack_revocation(revocation: Revocation) -> bytes:
    """The record of `revocation`. It is ASCII without a line break."""
    return json.dumps([FORMAT, *revocation], separators=(",", ":")).encode()


def unpack_revocations(records: Sequence[bytes]) -> list[Revocation]:
    """The entries of records that `pack_revocation` made. Raises StoreUnavailable for a record that can't be read."""
    try:
        # One call of `json.loads` for all records is several times as fast as a call for each.
        return [_revocation(*fields) for fields in json.loads(b"[%b]" % b",".join(records))]
    except (TypeError, ValueError) as error:
        raise StoreUnavailable(f"a revocation's record can't be read ({type(error).__name__})") from None


def _revocation(number: int, *fields: Any) -> Revocation:
    if number != FORMAT:
        raise StoreUnavailable("a revocation's record is of another format than this release writes")
    return Revocation(*fields)
