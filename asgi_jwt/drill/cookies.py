"""Cookie: one that an answer sets, and the requests to which a browser would send it. RFC 6265."""

from collections.abc import Iterable
from dataclasses import dataclass

from asgi_jwt.drill.client import Answer


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie. Names of attributes are in lower case. A flag's value is empty."""

    name: str
    value: str
    attributes: dict[str, str]

    @property
    def path(self) -> str:
        return self.attributes.get("path", "")

    def is_sent_to(self, path: str) -> bool:
        """Whether a browser sends it to `path` (RFC 6265 section 5.1.4)."""
        return path == self.path or path.startswith(self.path.rstrip("/") + "/")


def cookies_of(answer: Answer) -> list[Cookie]:
    """The cookies that the answer sets or clears."""
    return [_parse(line) for line in answer.values("set-cookie")]


def refresh_cookie(cookies: Iterable[Cookie]) -> Cookie | None:
    """The cookie of the refresh token: named for it, else the first one that is set."""
    given = [cookie for cookie in cookies if cookie.value]
    return next((cookie for cookie in given if "refresh" in cookie.name.lower()), given[0] if given else None)


def _parse(line: str) -> Cookie:
    first, *rest = line.split(";")
    name, _, value = first.partition("=")
    attributes = {key.strip().lower(): content.strip() for key, _, content in (part.partition("=") for part in rest)}
    return Cookie(name.strip(), value.strip(), attributes)
