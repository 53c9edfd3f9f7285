"""Checks of the API: it takes the token of the login, and nothing else."""

from collections import Counter

from asgi_jwt.drill.client import Answer
from asgi_jwt.drill.devices import bearer, told
from asgi_jwt.drill.drill import Drill
from asgi_jwt.drill.forgeries import forged_tokens
from asgi_jwt.drill.outcome import Broken, Untried, broken_if

_BURST = 10
_API_MENDS = {
    401: "give the API and the login the same issuer, audience and keys, and let the proxy pass Authorization on",
    403: "give --api a path that this user may read",
    404: "give --api a path that is there, with the prefix of a proxy",
    405: "give --api a path that takes GET",
}
_GUARD = "put JWTMiddleware around the app, and use no other verification of tokens there"


async def public_paths(drill: Drill) -> str:
    """The API answers nobody without a token."""
    drill.device()
    answer = await drill.ask([])
    drill.is_public = answer.is_good
    if answer.is_good:
        raise Broken(
            f"{drill.target.api} is answered {answer.status} without a token",
            "take it out of public= and ASGI_JWT_PUBLIC_PATHS, or add require() to the route where optional=True",
        )
    if (await drill.ask([], "HEAD")).is_good:
        raise Broken(f"HEAD {drill.target.api} is answered without a token", _GUARD)
    if answer.status == 401 and "bearer" not in answer.header("www-authenticate").lower():
        raise Broken("the 401 has no challenge of the scheme Bearer", "let the proxy pass WWW-Authenticate on")
    if answer.status not in (401, 403):
        raise Broken(f"without a token {drill.target.api} is answered {told(answer)}", _api_mend(answer))
    return f"{drill.target.api} is answered {answer.status} without a token"


async def api(drill: Drill) -> str:
    """The API takes the token of the login, in every process."""
    device = drill.device()
    answer = await drill.ask(device.bearer)
    if not answer.is_good:
        raise Broken(f"{drill.target.api} is answered {told(answer)} with a good token", _api_mend(answer))
    drill.page = answer
    statuses = Counter(each.status for each in await drill.client.burst(_BURST, "GET", drill.target.api, device.bearer))
    if set(statuses) != {answer.status}:
        seen = ", ".join(f"{number} of {_BURST} answered {status}" for status, number in sorted(statuses.items()))
        raise Broken(seen, "give all processes the same keys, from the same variables or files")
    return f"{answer.status} with the token of the login, {_BURST} times at once"


def _api_mend(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return "give --api the path that it redirects to: the drill follows no redirect"
    return _API_MENDS.get(answer.status, "look into the log of the service")


async def forged(drill: Drill) -> str:
    """The API takes no token that the issuer has not signed."""
    device = drill.guarded()
    if device.access.count(".") != 2:
        raise Untried("the access token is no JWT")
    accepted, failed, tried = [], [], 0
    for name, token in forged_tokens(device.access, drill.jwks):
        answer = await drill.ask(bearer(token))
        tried += 1
        accepted += [name] * answer.is_good
        failed += [name] * (answer.status >= 500)
    if accepted:
        raise Broken(f"accepted: {', '.join(accepted)}", f"{_GUARD}; give the key a new secret of asgi-jwt keygen")
    if failed:
        raise Broken(f"answered with an error of the server: {', '.join(failed)}", "look into the log of the service")
    return f"{tried} forged, altered and unsigned tokens are refused"


async def places(drill: Drill) -> str:
    """A token counts where it belongs, behind Bearer in one Authorization header, and on every spelling of the path."""
    device, path, mount = drill.guarded(), drill.target.api, drill.target.mount
    token, mark = device.access, "&" if "?" in drill.target.api else "?"
    answers = {
        "in the query": await drill.ask([], path=f"{path}{mark}access_token={token}"),
        "without Bearer": await drill.ask([("Authorization", token)]),
        "behind Basic": await drill.ask([("Authorization", f"Basic {token}")]),
        "in two headers": await drill.ask([*device.bearer, *device.bearer]),
    }
    faults = [(f"a token {name} is accepted", _GUARD) for name, answer in answers.items() if answer.is_good]
    # A path that begins as a public one does, and leads elsewhere.
    for prefix in ("/", f"{mount}/..", f"{mount}/%2e%2e", f"{mount}/..%2f", f"{mount}/..;"):
        spelling = f"{prefix}{path}"
        answer = await drill.ask([], path=spelling)
        if answer.is_good and drill.page is not None and answer.body == drill.page.body:
            faults.append((f"{spelling} leads around the guard", "let the proxy pass paths on as they are"))
    broken_if(faults)
    return "refused elsewhere than behind Bearer in one header, and on five other spellings of the path"


async def kinds(drill: Drill) -> str:
    """A refresh token is no access token, and an access token is no refresh token."""
    device = drill.guarded()
    if device.refresh and (await drill.ask(bearer(device.refresh))).is_good:
        raise Broken(f"{drill.target.api} takes a refresh token", _GUARD)
    answer = await drill.client.post(
        f"{drill.target.mount}/token", {"grant_type": "refresh_token", "refresh_token": device.access}
    )
    if answer.is_good:
        raise Broken("/token takes an access token", "set ASGI_JWT_REFRESH_SECRET to a secret of its own")
    return "neither passes for the other"
