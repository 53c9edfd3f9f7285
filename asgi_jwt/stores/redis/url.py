"""The URL of a Redis or Valkey store, taken apart and checked before anything is opened."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from asgi_jwt.errors import ConfigurationError

Topology = Literal["standalone", "sentinel", "cluster"]

PREFIX = "asgi-jwt:"
TIMEOUT = 2.0

_SCHEMES: Mapping[str, tuple[Topology, bool]] = {
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisURL:
    """Where a store is and how to get there; `timeout` in seconds. Neither `str` nor `repr` shows a credential."""

    scheme: str
    topology: Topology
    hosts: tuple[tuple[str, int], ...]
    service: str | None = None
    database: int = 0
    prefix: str = PREFIX
    timeout: float = TIMEOUT
    protocol: int = 3
    tls: Mapping[str, Any] | None = None
    """redis-py's `ssl_*` arguments; None without TLS."""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts}/" + (f"{self.service}/" if self.service else "") + str(self.database)


def check_prefix(prefix: str) -> str:
    """`prefix` itself. Raises ValueError where it would break up the hash tag that keeps a subject in one slot."""
    if "{" in prefix or "}" in prefix:
        raise ValueError("must not contain braces: they would be the hash tag of every key")
    return prefix


def check_timeout(timeout: float | str) -> float:
    """`timeout` in seconds. Raises ValueError unless it is positive and finite."""
    try:
        seconds = float(timeout)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError("must be a positive number of seconds")
    return seconds


def parse_redis_url(url: str) -> RedisURL:
    """Take apart `url`, one of

    ```
    redis://[user:password@]host[:port][/database]
    redis+sentinel://[user:password@]host[:port],…/service[/database]
    redis+cluster://[user:password@]host[:port],…
    ```

    or the same with `rediss` for TLS. Credentials are percent-encoded; with Sentinel they are the server's, and the
    Sentinels' own are the parameters `sentinel_username` and `sentinel_password`. Further parameters: `prefix`,
    `timeout` (seconds), `protocol` (2 or 3), and with TLS `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths) and
    `ssl_check_hostname`. Raises ConfigurationError with all faults; none shows what stood in the URL.
    """
    # Taken apart here: what `urlsplit` makes of several hosts, one of them IPv6, differs from Python to Python.
    scheme, separator, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    try:
        topology, secure = _SCHEMES[scheme.lower() if separator else ""]
    except KeyError:
        raise ConfigurationError(f"a Redis store's URL begins with one of {', '.join(_SCHEMES)}, then ://") from None
    faults: list[str] = []
    parts = urlsplit(rest[len(authority) :])
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    settings = _parameters(parts.query, topology, secure, faults)
    if parts.fragment:
        faults.append("the Redis URL has a fragment: a # in a password is written %23")
    parsed = RedisURL(
        scheme=scheme.lower(),
        topology=topology,
        hosts=_hosts(hosts, topology, faults),
        username=unquote(username) or None,
        password=unquote(password) or None,
        **_path(parts.path, topology, faults),
        **settings,
    )
    if faults:
        raise ConfigurationError(faults)
    return parsed


def _hosts(hosts: str, topology: Topology, faults: list[str]) -> tuple[tuple[str, int], ...]:
    names = hosts.split(",")
    if len(names) > 1 and topology == "standalone":
        faults.append("the Redis URL names several hosts: that takes redis+sentinel:// or redis+cluster://")
    found = []
    for name in names:
        try:
            address = urlsplit(f"//{name}")
            port = address.port
        except ValueError:
            address, port = urlsplit("//"), None
        if not address.hostname:
            faults.append("the Redis URL names no host, or a port that is no number from 0 to 65535")
        found.append((address.hostname or "", port or (26379 if topology == "sentinel" else 6379)))
    return tuple(found)


def _path(path: str, topology: Topology, faults: list[str]) -> dict[str, Any]:
    segments = [unquote(segment) for segment in path.split("/")[1:] if segment]
    found: dict[str, Any] = {}
    if topology == "sentinel":
        if not segments:
            faults.append("the Redis URL lacks the Sentinel service: redis+sentinel://host:port/service/0")
        else:
            found["service"] = segments.pop(0)
    if segments:
        database = segments.pop(0)
        if segments or not (database.isascii() and database.isdecimal()):
            faults.append("the Redis URL's path ends in anything but a database's number")
        elif topology == "cluster" and int(database):
            faults.append("the Redis URL names a database: a cluster has 0 alone")
        else:
            found["database"] = int(database)
    return found


def _one_of_2_and_3(text: str) -> int:
    if text not in {"2", "3"}:
        raise ValueError("must be 2 or 3")
    return int(text)


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError("must name a file that can be read")
    return text


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


_PLAIN: Mapping[str, Callable[[str], Any]] = {
    "prefix": check_prefix,
    "timeout": check_timeout,
    "protocol": _one_of_2_and_3,
}
_SENTINEL: Mapping[str, Callable[[str], Any]] = {"sentinel_username": str, "sentinel_password": str}
_TLS: Mapping[str, Callable[[str], Any]] = {
    "ssl_ca_certs": _file,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_check_hostname": _flag,
}


def _parameters(query: str, topology: Topology, secure: bool, faults: list[str]) -> dict[str, Any]:
    known = {**_PLAIN, **(_SENTINEL if topology == "sentinel" else {}), **(_TLS if secure else {})}
    found: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            faults.append(f"the Redis URL has a parameter it can't have here: it takes {', '.join(known)}")
        elif name in found:
            faults.append(f"the Redis URL has {name} twice")
        else:
            try:
                found[name] = known[name](text)
            except ValueError as fault:
                faults.append(f"the Redis URL's {name} {fault}")
    tls = {name: found.pop(name) for name in _TLS if name in found}
    return found | {"tls": MappingProxyType(tls) if secure else None}
