"""TrustedIssuer: the keys of an issuer, the rules for its tokens, and the headers that it signs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from asgi_jwt.tokens.algorithms import ALGORITHMS
from asgi_jwt.tokens.claims import Standing, TokenPolicy
from asgi_jwt.tokens.header import read_header
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_source import KeySource, candidates
from asgi_jwt.tokens.keys import MAX_CANDIDATES

if TYPE_CHECKING:
    from asgi_jwt.tokens.found_issuers import FoundIssuers

# The algorithm of a header, the keys to try, how many keys fit, and whether the keys are tried in a thread. It is a
# plain tuple, which costs less than a named one.
Candidates = tuple[str, tuple[Key, ...], int, bool]

_MAX_KNOWN_HEADERS = 256


class Trust(NamedTuple):
    """A trusted issuer: `keys` verify its tokens, and `policy` has the rules for their claims."""

    keys: KeySource
    policy: TokenPolicy


class TrustedIssuer:
    """The keys, the policy and the cached headers of one issuer. Those of two issuers never mix.

    `finder`: has found the issuer. None: a setting names it in full.
    `standing`: the claims of its tokens share it. None makes a new one.
    """

    __slots__ = ("finder", "headers", "keys", "policy", "source", "standing")

    def __init__(self, trust: Trust, *, finder: FoundIssuers | None = None, standing: Standing | None = None) -> None:
        self.source, self.policy = trust
        self.finder = finder
        self.standing = standing or Standing(leeway=trust.policy.leeway)
        self.keys = tuple(self.source.known)
        if self.source.known.allowed is not None:
            self.policy = replace(self.policy, algorithms=frozenset(ALGORITHMS))
        # The tokens of an issuer share a few headers. Each is parsed once, and kept only after its token was verified.
        self.headers: dict[bytes, Candidates] = {}

    @property
    def trust(self) -> Trust:
        """The trust with the present algorithms, which may change with the keys."""
        allowed = self.source.known.allowed
        return Trust(self.source, self.policy if allowed is None else replace(self.policy, algorithms=allowed))

    async def candidates(self, header: bytes, typ: frozenset[str] | None = None) -> Candidates:
        """The algorithm of an encoded header, and the present keys that may have signed its token.

        `typ`: the values of the header's `typ` for tokens of another kind than access tokens.
        """
        policy = self.policy if typ is None else replace(self.policy, typ=typ, require_typ=False)
        algorithm, kid = read_header(header, policy)
        fitting = await candidates(self.source, kid, algorithm)
        tried = fitting[:MAX_CANDIDATES]
        # Four checks with ES512 would block the event loop for 2 to 4 ms, and anyone may send a token without a `kid`.
        return algorithm, tried, len(fitting), sum(key.slow_to_verify for key in tried) > 1

    def remember(self, header: bytes, found: Candidates) -> None:
        """Keep the candidates of a header whose token was verified."""
        if header not in self.headers:
            if len(self.headers) >= _MAX_KNOWN_HEADERS:
                self.headers.clear()
            self.headers[header] = found
            # Another thread may have changed the keys meanwhile.
            if not all(key in self.keys for key in found[1]):
                self.headers.clear()
