"""Records as the release before this one (commit 1254be8) packs and unpacks them, taken over word by word."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.records import Client, Revocation, Session, SessionKey

FORMAT = 1


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a claim holds a {type(value).__name__}, which JSON can't tell")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode


def pack(session: Session) -> bytes:
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
    return _encode(record).encode("utf-8", "surrogatepass")


def unpack(key: SessionKey, record: bytes) -> Session:
    try:
        number, *fields = json.loads(record)
        if number != FORMAT:
            raise StoreUnavailable("a session's record is of another format than this release writes")
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
        )
    except (TypeError, ValueError) as error:
        raise StoreUnavailable(f"a session's record can't be read ({type(error).__name__})") from None


def pack_revocation(revocation: Revocation) -> bytes:
    return json.dumps([FORMAT, *revocation], separators=(",", ":")).encode()


def unpack_revocations(records: Sequence[bytes]) -> list[Revocation]:
    try:
        return [_revocation(*fields) for fields in json.loads(b"[%b]" % b",".join(records))]
    except (TypeError, ValueError) as error:
        raise StoreUnavailable(f"a revocation's record can't be read ({type(error).__name__})") from None


def _revocation(number: int, *fields: Any) -> Revocation:
    if number != FORMAT:
        raise StoreUnavailable("a revocation's record is of another format than this release writes")
    return Revocation(*fields)
