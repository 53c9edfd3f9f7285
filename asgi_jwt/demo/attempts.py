"""The requests to try on the demo, with tokens of every kind, and the status of each answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asgi_jwt.auth import Auth
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.identity import Identity

ISSUER = "https://issuer.example"
AUDIENCE = "demo"
LIFE = 3600


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to `/api/me`: its token, a title and an adjective for the token, and the status of the answer."""

    title: str
    adjective: str
    token: str | None
    status: int

    def command(self, url: str) -> str:
        """The line for a shell. `url` is the demo's URL, without a slash at its end."""
        header = "" if self.token is None else f' -H "Authorization: Bearer {self.token}"'
        return f"curl -i {url}/api/me{header}"


def demo_auth(keys: Path, *, audience: str = AUDIENCE, clock: Callable[[], float] = time.time) -> Auth:
    """An `Auth` of the demo's issuer, with the keys of a file. Its tokens live for an hour."""
    settings = Settings(issuer=ISSUER, audience=audience, keys_file=str(keys), access_ttl=LIFE)
    return Auth(settings, clock=clock)


def make_attempts(keys: Path, *, clock: Callable[[], float] = time.time) -> list[Attempt]:
    """The requests to try on a demo with these keys. The hour of their tokens begins now."""
    alice, admin = Identity("alice", scopes="profile:read"), Identity("admin", scopes="profile:read")
    issuer = demo_auth(keys, clock=clock).issuer
    elsewhere = demo_auth(keys, audience="another-service", clock=clock).issuer
    yesterday = demo_auth(keys, clock=lambda: clock() - 24 * LIFE).issuer
    good = issuer.access_token(alice)
    header, _, signature = good.split(".")
    # Alice changes the subject to the administrator. She can't make a new signature, so she keeps the old one.
    tampered = ".".join([header, issuer.access_token(admin).split(".")[1], signature])
    return [
        Attempt("No token", "missing", None, 401),
        Attempt("A good token", "good", good, 200),
        Attempt("An expired token", "expired", yesterday.access_token(alice), 401),
        Attempt("A tampered token, its subject changed", "tampered", tampered, 401),
        Attempt("A token for another audience", "another service's", elsewhere.access_token(alice), 401),
    ]
