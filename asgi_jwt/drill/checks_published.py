"""Checks of what the deployment publishes, its keys and metadata, and of its clock."""

from contextlib import suppress
from email.utils import parsedate_to_datetime

from asgi_jwt.drill.client import Answer
from asgi_jwt.drill.devices import header_of, payload_of, told
from asgi_jwt.drill.drill import Drill
from asgi_jwt.drill.outcome import Broken, Untried, broken_if
from asgi_jwt.errors import AuthError
from asgi_jwt.tokens.algorithms import SYMMETRIC
from asgi_jwt.tokens.compact import decode_base64url, split
from asgi_jwt.tokens.keys import KeySet

CLOCKS_DIFFER = 10.0
"""The greatest difference (s) of two clocks that rotation survives with the default GRACE."""

_JWKS_TYPES = ("application/jwk-set+json", "application/json")
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})


async def jwks(drill: Drill) -> str:
    """The published keys verify the token of the login, and no key is published with its secret."""
    device, path = drill.device(), f"{drill.target.mount}/.well-known/jwks.json"
    answer = await drill.client.send("GET", path)
    if answer.status in (404, 405):
        raise Untried(f"{path} was answered {answer.status}: this service publishes no keys")
    keys = answer.json().get("keys")
    if not answer.is_good or not isinstance(keys, list):
        raise Broken(
            f"{path} was answered {told(answer)}, and is no JWK Set",
            "pass this path on to AuthApp, and list it in public=",
        )
    drill.jwks = answer.json()
    faults = []
    kind = answer.header("content-type").partition(";")[0].strip().lower()
    if kind not in _JWKS_TYPES:
        mend = "let the proxy keep Content-Type: application/jwk-set+json"
        faults.append((f"the JWK Set is served as {drill.quoted(kind or 'no type')}, which clients refuse", mend))
    if any(not _PRIVATE.isdisjoint(key) for key in answer.objects("keys")):
        faults.append(("a key is published with its secret", "publish public keys alone, and replace this key"))
    algorithm = str(header_of(device.access).get("alg"))
    if algorithm not in SYMMETRIC and not _verifies(drill.jwks, device.access, algorithm):
        mend = "let no cache keep the JWK Set longer than its max-age, and give all processes the same keys"
        faults.append(("no published key verifies the token of the login", mend))
    broken_if(faults)
    return f"{len(keys)} public, as {kind}" if keys else "none, because a secret signs"


def _verifies(jwks: dict[str, object], token: str, algorithm: str) -> bool:
    keys, _ = KeySet.from_jwks(jwks)
    kid = header_of(token).get("kid")
    with suppress(AuthError):
        _, _, signature, signed = split(token.encode())
        candidates = keys.candidates(kid if isinstance(kid, str) else None, algorithm)
        return any(key.verify(algorithm, signed, decode_base64url(signature)) for key in candidates)
    return False


async def metadata(drill: Drill) -> str:
    """The metadata names this deployment's own addresses."""
    device, path = drill.device(), f"{drill.target.mount}/.well-known/oauth-authorization-server"
    answer = await drill.client.send("GET", path)
    if answer.status == 404:
        raise Untried(f"{path} was answered 404: it is served where ISSUER is the URL of AuthApp's mount or host")
    document = answer.json()
    if not answer.is_good or not document:
        raise Broken(f"{path} was answered {told(answer)}, and is no metadata", "pass this path on to AuthApp")
    faults = []
    for name, route in (("token_endpoint", "/token"), ("revocation_endpoint", "/revoke")):
        if document.get(name) != drill.target.url + route:
            mend = "set ASGI_JWT_ISSUER to the URL that the outside sees, and ASGI_JWT_COOKIE_PATH behind a prefix"
            faults.append((f"{name} is {drill.quoted(str(document.get(name)))}", mend))
    if document.get("issuer") != payload_of(device.access).get("iss"):
        faults.append(("issuer is another than iss of the token", "give all processes the same ASGI_JWT_ISSUER"))
    broken_if(faults)
    return "names the addresses that the outside sees"


async def clock(drill: Drill) -> str:
    """The server's clock is right."""
    device = drill.device()
    before = drill.clock()
    answer = await drill.devices.refresh(device)
    drill.devices.adopt(device, answer)
    spread = (drill.clock() - before) / 2
    # Both times are whole seconds, cut off.
    now = before + spread - 0.5
    times = {"Date": _date(answer), "iat of a new token": payload_of(answer.text("access_token")).get("iat")}
    ahead = {name: time - now for name, time in times.items() if isinstance(time, int | float)}
    wrong = [
        f"{name} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"
        for name, seconds in ahead.items()
        if not abs(seconds) <= CLOCKS_DIFFER + spread + 0.5
    ]
    if wrong:
        raise Broken(f"{', '.join(wrong)} this machine's clock", "let all servers, and this machine, follow NTP")
    if not ahead:
        raise Untried("the answer of a refresh has neither Date nor a token with iat")
    return f"within {CLOCKS_DIFFER:g} s of this machine's clock"


def _date(answer: Answer) -> float | None:
    try:
        return parsedate_to_datetime(answer.header("date")).timestamp()
    except (ValueError, OverflowError):
        return None
