"""Turns errors of a server into StoreUnavailable, with the server's error code and the mend, but not with its text."""

import re

import redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.redis.pipeline import Disconnected, UnknownScript

_RIGHTS = "give its user the rights that `asgi-jwt docs stores` lists"
_CREDENTIALS = "put the right user and password into the store's URL"
_MENDS = {
    "BUSY": "a script of another client runs for too long: end it with SCRIPT KILL",
    "CLUSTERDOWN": "the cluster has lost a part: bring back its nodes",
    "CROSSSLOT": "the server is a cluster's: use redis+cluster://",
    "LOADING": "the server still loads its data: wait",
    "MASTERDOWN": "the server is a replica without its master: name the master",
    "MISCONF": "the server can't save to its disk: make room there, and see its log",
    "MOVED": "the server is a cluster's: use redis+cluster://",
    "NOAUTH": _CREDENTIALS,
    "NOPERM": _RIGHTS,
    "NOREPLICAS": "the master lacks replicas (min-replicas-to-write): bring them back, or name the new master",
    "OOM": "give the server more memory, or another server to what else it keeps",
    "READONLY": "name the master in the store's URL, for this server is a replica",
    "WRONGPASS": _CREDENTIALS,
    "WRONGTYPE": "another program keeps its data under the prefix of the store: give the store a prefix of its own",
}
_TEXTS = {
    "ACL failure in script": ("NOPERM", _RIGHTS),
    "AUTH": ("ERR", _CREDENTIALS),
    "DB index is out of range": ("ERR", "name a database that the server has in the store's URL"),
    "max number of clients reached": ("ERR", "raise the server's maxclients, or use fewer processes"),
}
"""The code and the mend of errors that have no code of their own, by the beginning of their text."""

_IN_A_SCRIPT = re.compile(r"Error running script.*?: -([A-Z]+) ")
"""The text of an error inside a script, in Redis before version 7."""

_CODE = re.compile("[A-Z]{2,20}")
_DEMOTED = {"READONLY", "NOREPLICAS", "MASTERDOWN"}


def is_demoted(complaint: ResponseError) -> bool:
    """Whether the server is no master any more, or a master that may not write. Another server may be the master."""
    return _code_and_mend(complaint)[0] in _DEMOTED


def explained(error: Exception) -> StoreUnavailable:
    """The StoreUnavailable for an error. Its text is safe to log: a server's own text may quote keys and records."""
    if isinstance(error, NoScriptError):
        return UnknownScript()
    unavailable = _complaint(error) if isinstance(error, ResponseError) or _status(error) else _failure(error)
    unavailable.__cause__ = error if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)) else None
    return unavailable


def _complaint(error: Exception) -> StoreUnavailable:
    code, mend = _code_and_mend(error)
    kind = Disconnected if code in _DEMOTED or isinstance(error, redis.ConnectionError) else StoreUnavailable
    name = ReadOnlyError.__name__ if code == "READONLY" else type(error).__name__
    return kind(f"{name} ({code}): {mend}" if mend else f"{name} ({code})")


def _failure(error: Exception) -> StoreUnavailable:
    name = type(error).__name__
    if not isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return StoreUnavailable(name)
    # redis-py puts the settings of each Sentinel without an answer behind " : ", and they may contain a password.
    text = str(error).partition(" : ")[0]
    kind = Disconnected if isinstance(error, redis.ConnectionError) else StoreUnavailable
    return kind(f"{name}: {text}" if text else name)


def _status(error: Exception) -> str | None:
    status: str | None = getattr(error, "status_code", None)
    return status


def _code_and_mend(error: Exception) -> tuple[str, str]:
    text = str(error)
    for beginning, found in _TEXTS.items():
        if text.startswith(beginning):
            return found
    inner = _IN_A_SCRIPT.match(text)
    code = inner[1] if inner else _status(error) or text.partition(" ")[0]
    # A server that is no Redis may answer any text, which must not reach the log.
    return (code, _MENDS.get(code, "")) if _CODE.fullmatch(code) else ("ERR", "")
