"""Answers that need not be sent again: RFC 9110 sections 8.8.3 and 13.1.2."""

from hashlib import sha256

from starlette.requests import Request


def entity_tag(body: bytes) -> str:
    """The `ETag` of an answer with this body."""
    return f'"{sha256(body).hexdigest()[:32]}"'


def has_it(request: Request, tag: str) -> bool:
    """Whether the client has the answer of this `ETag`, and a 304 will do."""
    # What compresses on the way makes a tag weak, and the comparison is.
    lines = request.headers.getlist("if-none-match")
    given = {each.strip().removeprefix("W/") for line in lines for each in line.split(",")}
    return bool(given & {tag, "*"})
