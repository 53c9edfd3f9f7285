"""DPoP proofs, signed with the bare primitives, and the examples of RFC 9449, letter for letter."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from support.tokens import ecdsa, segment

from asgi_jwt.tokens.algorithms import thumbprint


class Example(NamedTuple):
    """A proof of RFC 9449, and the request that it came with."""

    proof: bytes
    method: str
    url: str
    at: int
    access_token: bytes | None = None


_HEADER = (
    b"eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo"
    b"RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
)
RFC_THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
"""The `jkt` of section 6.1, which is of the key of both examples."""

AT_THE_TOKEN_ENDPOINT = Example(
    _HEADER + b".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rv"
    b"a2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3"
    b"Lg",
    "POST",
    "https://server.example.com/token",
    1562262616,
)
"""Section 4.1."""

AT_THE_RESOURCE = Example(
    _HEADER + b".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9w"
    b"cm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9."
    b"2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
    "GET",
    "https://resource.example.org/protectedresource",
    1562262618,
    b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
)
"""Section 7.1."""


@dataclass
class Holder:
    """A client with a key of its own, by default for ES256. Each of its proofs has another `jti`."""

    clock: Callable[[], float]
    sign: Callable[[bytes], bytes] | None = None
    jwk: dict[str, Any] = field(default_factory=dict)
    alg: str = "ES256"
    made: int = 0

    def __post_init__(self) -> None:
        if self.sign is None:
            key = ec.generate_private_key(ec.SECP256R1())
            self.sign, self.jwk = ecdsa(key), ECAlgorithm.to_jwk(key.public_key(), as_dict=True)

    @cached_property
    def thumbprint(self) -> str:
        return thumbprint(self.jwk)

    def proof(
        self,
        url: str,
        method: str = "GET",
        access_token: str | None = None,
        *,
        header: Mapping[str, Any] | bytes = {},
        claims: Mapping[str, Any] | bytes = {},
        without: str = "",
    ) -> str:
        """A proof for a request; `header` and `claims` change members of it, or stand in their place."""
        self.made += 1
        said: dict[str, Any] = {"jti": f"jti-{self.made}", "htm": method, "htu": url, "iat": self.clock()}
        if access_token is not None:
            said["ath"] = segment(hashlib.sha256(access_token.encode()).digest())
        whole = {"typ": "dpop+jwt", "alg": self.alg, "jwk": self.jwk}
        parts = [
            given if isinstance(given, bytes) else {name: v for name, v in {**own, **given}.items() if name != without}
            for own, given in ((whole, header), (said, claims))
        ]
        message = ".".join(map(segment, parts))
        assert self.sign is not None
        return f"{message}.{segment(self.sign(message.encode()))}"

    def headers(self, url: str, method: str, access_token: str, **changes: Any) -> list[tuple[str, str]]:
        """The headers of a request with a bound token."""
        proof = self.proof(url, method, access_token, **changes)
        return [("authorization", f"DPoP {access_token}"), ("dpop", proof)]
