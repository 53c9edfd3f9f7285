"""Parses and checks the URL of a Redis or Valkey store. redis-py checks and reads its own parameters."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import ConnectionPool, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from asgi_jwt.errors import ConfigurationError

Topology = Literal["standalone", "sentinel", "cluster"]

KEY_PREFIX = "asgi-jwt:"
ANSWER_TIMEOUT = 2.0

_SCHEMES: Mapping[str, tuple[Topology, str]] = {
    "redis": ("standalone", "redis"),
    "rediss": ("standalone", "rediss"),
    "unix": ("standalone", "unix"),
    "redis+sentinel": ("sentinel", "redis"),
    "rediss+sentinel": ("sentinel", "rediss"),
    "redis+cluster": ("cluster", "redis"),
    "rediss+cluster": ("cluster", "rediss"),
}
"""The topology of each scheme, and the scheme that redis-py has for its transport."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisURL:
    """The parsed URL of a store. `timeout` is in seconds. `str` and `repr` show no credentials."""

    shown: str
    topology: Topology
    url: str = field(repr=False)
    """The URL for redis-py: the first host, with credentials and parameters."""

    hosts: tuple[tuple[str, int], ...]
    service: str | None = None
    prefix: str = KEY_PREFIX
    timeout: float = ANSWER_TIMEOUT
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.shown


def check_prefix(prefix: str) -> str:
    """`prefix` itself. Raises ValueError for braces: the hash tag that keeps a subject in one slot uses them."""
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


_OWN: Mapping[str, Callable[[str], Any]] = {"prefix": check_prefix, "timeout": check_timeout}
_SENTINELS: Mapping[str, Callable[[str], Any]] = {"sentinel_username": str, "sentinel_password": str}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def parse_redis_url(url: str) -> RedisURL:
    """Parse a URL of one of these forms, or with `rediss` for TLS:

    ```
    redis://[user:password@]host[:port][/database]
    unix://[user:password@]/path/to/socket[?db=database]
    redis+sentinel://[user:password@]host[:port],…/service[/database]
    redis+cluster://[user:password@]host[:port],…
    ```

    Credentials are percent-encoded. With Sentinel they are those of the Redis server; the credentials of the Sentinels
    are the parameters `sentinel_username` and `sentinel_password`. Further parameters are `prefix`, `timeout` (s), and
    the parameters of redis-py's `from_url`, as `db`, `protocol` and `ssl_ca_certs`. Raises ConfigurationError with all
    faults. Their texts show no value of the URL.
    """
    # `urlsplit` reads several hosts differently in different versions of Python, so they are separated here.
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise ConfigurationError(f"a Redis store's URL begins with one of {', '.join(_SCHEMES)}, then ://")
    topology, transport = _SCHEMES[scheme.lower()]
    faults: list[str] = []
    split = urlsplit(rest[(end := _end_of_authority(rest)) :])
    credentials, at, names = rest[:end].rpartition("@")
    if split.fragment:
        faults.append("the Redis URL has a fragment: a # in a password is written %23")
    hosts: tuple[tuple[str, int], ...] = ()
    path, service = split.path, None
    if transport == "unix":
        faults += _faults_of_socket(names, path)
    else:
        hosts = _hosts(names, topology, faults)
        if topology == "sentinel":
            service, path = _service(path, faults)
        faults += _faults_of_path(path)
    own, foreign = _parameters(split.query, topology, partial(_faults_of_parameter, topology, transport), faults)
    if topology == "cluster" and path.strip("0/"):
        faults.append("the Redis URL names a database: a cluster has 0 alone")
    if faults:
        raise ConfigurationError(faults)
    first = names.split(",")[0]
    return RedisURL(
        shown=_shown(scheme.lower(), hosts, service, path, foreign),
        topology=topology,
        url=f"{transport}://{credentials}{at}{first}{path}?{urlencode(foreign)}",
        hosts=hosts,
        service=service,
        **own,
    )


def _end_of_authority(rest: str) -> int:
    return min((rest.index(mark) for mark in "/?#" if mark in rest), default=len(rest))


def _shown(
    scheme: str, hosts: tuple[tuple[str, int], ...], service: str | None, path: str, parameters: Mapping[str, str]
) -> str:
    if scheme == "unix":
        return f"unix://{path}"
    names = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)
    database = parameters.get("db") or path.strip("/") or "0"
    return f"{scheme}://{names}/" + (f"{service}/" if service else "") + database


def _faults_of_socket(names: str, path: str) -> Iterator[str]:
    if names or path in ("", "/"):
        yield "the Redis URL needs the path of a socket: unix:///path/to/socket"


def _hosts(names: str, topology: Topology, faults: list[str]) -> tuple[tuple[str, int], ...]:
    found = []
    for name in names.split(","):
        try:
            address = urlsplit(f"//{name}")
            port = address.port
        except ValueError:
            address, port = urlsplit("//"), None
        if not address.hostname:
            faults.append("the Redis URL names no host, or a port that is no number from 0 to 65535")
        found.append((address.hostname or "", port or (26379 if topology == "sentinel" else 6379)))
    if len(found) > 1 and topology == "standalone":
        faults.append("the Redis URL names several hosts: that takes redis+sentinel:// or redis+cluster://")
    return tuple(found)


def _service(path: str, faults: list[str]) -> tuple[str, str]:
    """The Sentinels' name for the master, and the path without it."""
    service, separator, database = path.removeprefix("/").partition("/")
    if not service:
        faults.append("the Redis URL lacks the Sentinel service: redis+sentinel://host:port/service/0")
    return unquote(service), separator + database


def _faults_of_path(path: str) -> Iterator[str]:
    # redis-py ignores a path that is no number, and reads /1/2 as 12.
    database = path.strip("/")
    if database and not (database.isascii() and database.isdecimal()):
        yield "the Redis URL's path ends in anything but a database's number"


def _parameters(
    query: str, topology: Topology, probe: Callable[[str, str, str], Iterator[str]], faults: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The parameters of this store, as parsed values, and the other ones, for redis-py, as texts."""
    known = {**_OWN, **(_SENTINELS if topology == "sentinel" else {})}
    own: dict[str, Any] = {}
    foreign: dict[str, str] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in own or name in foreign:
            faults.append(f"the Redis URL has {name if name in known else 'a parameter'} twice")
        elif name in known:
            try:
                own[name] = known[name](text)
            except ValueError as fault:
                own[name] = None
                faults.append(f"the Redis URL's {name} {fault}")
        else:
            foreign[name] = text
            faults += probe(name, text, ", ".join(known))
    return own, foreign


def _faults_of_parameter(topology: Topology, transport: str, name: str, text: str, own: str) -> Iterator[str]:
    """The faults that redis-py finds in one of its parameters. Its error texts may quote a secret, so none is shown."""
    url = f"{transport}://localhost?{urlencode({name: text})}"
    try:
        pool: Any = ConnectionPool.from_url(url)
        pool.make_connection()
        if topology == "cluster":
            RedisCluster.from_url(url)
    except (TypeError, AttributeError):
        yield f"the Redis URL has a parameter that redis-py does not take here; besides redis-py's own it takes {own}"
    except (ValueError, RedisError, RedisClusterException):
        yield f"the Redis URL's {name} has a value that redis-py does not take"
    else:
        if name in _FILES and not Path(text).is_file():
            yield f"the Redis URL's {name} must name a file that can be read"
