"""Checks of the login: its answer, the cookie of the refresh token, and the requests of other sites."""

from collections.abc import Iterator

from asgi_jwt.drill.client import Answer
from asgi_jwt.drill.cookies import Cookie
from asgi_jwt.drill.devices import Pairs, told
from asgi_jwt.drill.drill import FOREIGN, Drill
from asgi_jwt.drill.outcome import Broken, Untried, broken_if
from asgi_jwt.drill.target import Target

_LONGEST_COOKIE = 4096
_LOGIN_MENDS = {
    400: "give --login the fields that your authenticate reads",
    404: "give the URL of AuthApp's mount as the outside sees it, with the prefix of a proxy",
    405: "give the URL of AuthApp's mount as the outside sees it, with the prefix of a proxy",
    429: "wait until the throttle lets this address log in again",
}


async def login(drill: Drill) -> str:
    """The credentials open a session."""
    answer, device = await drill.devices.log_in()
    if device is None:
        raise Broken(f"POST {drill.target.mount}/login was answered {told(answer)}", _login_mend(answer))
    drill.first = device
    return f"{answer.status}, with an access token"


def _login_mend(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return "give the URL that it redirects to: the drill follows no redirect"
    if answer.status == 401 and not answer.text("error"):
        return (
            "list AuthApp's mount in public= or ASGI_JWT_PUBLIC_PATHS, as /auth/*: nobody has a token before the login"
        )
    if answer.text("error") == "invalid_dpop_proof":
        return "drill a copy of the deployment with ASGI_JWT_DPOP=on: the drill makes no proofs"
    if answer.is_good:
        return "the answer has no access_token: give the URL of an AuthApp"
    if answer.status == 403:
        return "pass Host on with its port (nginx: proxy_set_header Host $http_host), or set ASGI_JWT_TRUSTED_ORIGINS"
    if answer.status >= 500:
        return "look into the log of the service: the store may be out of reach"
    return _LOGIN_MENDS.get(answer.status, "give --login the credentials of a user")


async def transport(drill: Drill) -> str:
    """Tokens and passwords are not sent in the clear."""
    drill.device()
    if drill.target.is_https:
        return "https"
    if drill.target.is_local:
        return "plain http on this machine, which no other machine can read"
    raise Broken("plain http: everyone on the way reads passwords and tokens", "serve it by https alone")


async def cookie(drill: Drill) -> str:
    """The browser alone keeps the refresh token, and sends it to the auth routes alone."""
    device = drill.device()
    found = device.cookie
    if found is None:
        where = "stands in the answer's body" if device.refresh else "is not given"
        raise Broken(f"the refresh token {where}", "let the login of a browser set an HttpOnly cookie")
    broken_if([*_cookie_faults(found, drill.target)])
    return f"{drill.quoted(found.name)}: HttpOnly, SameSite=Strict, Path={drill.quoted(found.path)}"


def _cookie_faults(found: Cookie, target: Target) -> Iterator[tuple[str, str]]:
    has, is_host_cookie = found.attributes, found.name.startswith("__Host-")
    mount = target.mount or "/"
    if "httponly" not in has:
        yield "no HttpOnly: scripts read the token", "let no proxy change Set-Cookie"
    if has.get("samesite", "").lower() != "strict":
        yield "no SameSite=Strict: requests of other sites bring it", "let no proxy change Set-Cookie"
    if "secure" not in has and target.is_https:
        yield "no Secure: the browser sends it by plain http, too", "unset ASGI_JWT_COOKIE_SECURE"
    if "secure" in has and not target.is_https and not target.is_local:
        yield "Secure, so that browsers drop it over plain http", "serve it by https"
    if "domain" in has:
        yield "Domain: other hosts get it", "let no proxy add Domain to Set-Cookie"
    if not found.is_sent_to(f"{target.mount}/refresh"):
        mend = f"set ASGI_JWT_COOKIE_PATH={mount}, because a proxy changes the path"
        yield "its Path is not the one that browsers see, so no refresh gets it", mend
    elif found.path.rstrip("/") != target.mount and not is_host_cookie:
        yield "its Path is wider than the auth routes", f"set ASGI_JWT_COOKIE_PATH={mount}"
    if len(found.name) + len(found.value) > _LONGEST_COOKIE:
        yield f"more than {_LONGEST_COOKIE} bytes: browsers drop it", "give the refresh token a shorter subject"


async def own_site(drill: Drill) -> str:
    """A page of the deployment may log in and out, also in a browser that sends no Sec-Fetch-Site."""
    drill.device()
    answer = await drill.client.post(f"{drill.target.mount}/logout", headers=[("Origin", drill.target.origin)])
    if answer.status == 403:
        raise Broken(
            "a browser without Sec-Fetch-Site is taken for another site: Host does not arrive as it was sent",
            "pass Host on with its port (nginx: proxy_set_header Host $http_host; HAProxy and Caddy do so)",
        )
    if not answer.is_good:
        raise Untried(f"POST /logout was answered {told(answer)}")
    return "its own page is let in by Origin alone"


async def other_sites(drill: Drill) -> str:
    """A page of another site can neither log in nor use the cookie."""
    device, mount = drill.device(), drill.target.mount
    origins: dict[str, Pairs] = {
        "Sec-Fetch-Site: cross-site": [("Origin", FOREIGN), ("Sec-Fetch-Site", "cross-site")],
        "Sec-Fetch-Site: same-site": [("Origin", FOREIGN), ("Sec-Fetch-Site", "same-site")],
        "Origin alone": [("Origin", FOREIGN)],
        "Origin: null": [("Origin", "null")],
    }
    faults = []
    for name, headers in origins.items():
        answer = await drill.client.post(f"{mount}/logout", headers=headers)
        faults += [(f"POST /logout with {name} was answered {told(answer)}", _CROSS_SITE)] * (answer.status != 403)
    foreign = origins["Sec-Fetch-Site: cross-site"]
    if device.cookie is not None:
        answer = await drill.devices.refresh(device, headers=foreign)
        drill.devices.adopt(device, answer)
        faults += [(f"POST /refresh of another site was answered {told(answer)}", _CROSS_SITE)] * (answer.status != 403)
    answer, _ = await drill.devices.log_in(headers=foreign)
    faults += [(f"POST /login of another site was answered {told(answer)}", _CROSS_SITE)] * (answer.status != 403)
    broken_if(faults)
    return "403 to each request of another site"


_CROSS_SITE = "pass Origin and Sec-Fetch-Site on, and list no foreign site in ASGI_JWT_TRUSTED_ORIGINS"


async def cors(drill: Drill) -> str:
    """A page of another site can't read answers to requests with the user's cookies."""
    device, mount = drill.device(), drill.target.mount
    cookies = [("Cookie", "drill=1")]
    asked: Pairs = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization")]
    faults = []
    for origin in (FOREIGN, "null"):
        foreign = [("Origin", origin)]
        for name, answer in (
            (drill.target.api, await drill.ask([*foreign, *cookies, *device.bearer])),
            (f"a preflight of {drill.target.api}", await drill.ask([*foreign, *asked], "OPTIONS")),
            ("a preflight of /refresh", await drill.ask([*foreign, *asked], "OPTIONS", f"{mount}/refresh")),
        ):
            allowed = answer.header("access-control-allow-origin")
            if answer.header("access-control-allow-credentials") == "true" and allowed in ("*", origin):
                faults.append((f"{name} lets {'all sites' if allowed == '*' else origin} read with cookies", _CORS))
    broken_if(faults[:1])
    return "no answer to another site allows cookies"


_CORS = "name your pages in allow_origins of CORSMiddleware, instead of * with allow_credentials=True"


async def caching(drill: Drill) -> str:
    """No cache keeps an answer with a token."""
    device = drill.device()
    first = await drill.devices.refresh(device)
    drill.devices.adopt(device, first)
    second = await drill.devices.refresh(device)
    drill.devices.adopt(device, second)
    answers = {"/login": device.answer, "/refresh": first}
    faults = [
        (f"the answer of {name} has no Cache-Control: no-store", "let no proxy change Cache-Control")
        for name, answer in answers.items()
        if answer.is_good and "no-store" not in answer.header("cache-control").lower()
    ]
    again = first.text("access_token")
    if any(answer.values("age") for answer in answers.values()) or (again and again == second.text("access_token")):
        faults.append(("a cache answers with a token that it kept", _CACHE))
    page = drill.page
    if page is not None and not drill.is_public:
        if (await drill.ask([])).is_good:
            faults.append((f"{drill.target.api} answers without a token what a cache kept of a user", _CACHE))
        if "public" in page.header("cache-control").lower():
            faults.append(
                (f"{drill.target.api} says Cache-Control: public, so that caches keep a user's answer", _PUBLIC)
            )
    broken_if(faults)
    return "no-store on answers with tokens, and no cache answers"


_CACHE = "let the proxy or CDN cache nothing below AuthApp's mount, and nothing that has Authorization"
_PUBLIC = "answer with Cache-Control: no-store or private"
