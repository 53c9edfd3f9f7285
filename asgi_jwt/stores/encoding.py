"""A session as JSON, for stores that keep text."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from types import MappingProxyType

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.records import Client, Session, SessionKey


def encode(session: Session) -> str:
    """All of the session but its key, in ASCII. Raises TypeError or ValueError when its claims are no JSON."""
    record = {field.name: getattr(session, field.name) for field in fields(session)}
    del record["subject"], record["sid"]
    return json.dumps(record, default=_plain, separators=(",", ":"))


def decode(key: SessionKey, record: str) -> Session:
    """The session that was encoded. Raises StoreUnavailable when it was damaged; the record stays out of the error."""
    try:
        values = json.loads(record)
        values["claims"] = MappingProxyType(values["claims"])
        values["scopes"] = tuple(values["scopes"])
        values["roles"] = tuple(values["roles"])
        values["client"] = Client(**values["client"])
        return Session(subject=key.subject, sid=key.sid, **values)
    except (ValueError, TypeError, KeyError) as error:
        raise StoreUnavailable(f"a session's record can't be read ({type(error).__name__})") from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Client):
        return asdict(value)
    raise TypeError(f"a session can't keep a {type(value).__name__}")
