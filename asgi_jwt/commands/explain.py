"""Explains in one line why a token was refused: the value in the token, the expected value, and the mend.

`Auth.verify` has refused the token. These functions search the token for the cause. Pure.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from asgi_jwt import errors
from asgi_jwt.commands.explain_tenants import explain_tenant, explain_tid, is_nearly_tenant, loosely
from asgi_jwt.commands.output import listed, moment, shown, spelled_duration
from asgi_jwt.commands.parsed_token import fault_of_form
from asgi_jwt.commands.refused_token import RefusedToken, found_as
from asgi_jwt.errors import AuthError
from asgi_jwt.events import printable
from asgi_jwt.tokens.algorithms import ASYMMETRIC, SYMMETRIC
from asgi_jwt.tokens.claim_path import find_claim
from asgi_jwt.tokens.claims import bound_to

_KEYS_IN_HEADER = ("jwk", "jku", "x5u", "x5c")
# Only ID tokens have these claims (OpenID Connect Core sections 2 and 3.1.3.6).
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash")
# A refresh token is signed with other keys, so it is refused with one of these errors before its type is checked.
_BEFORE_THE_TYPE = (errors.AlgorithmNotAllowed, errors.UnknownKey, errors.UnsuitableKey, errors.InvalidSignature)
# A logout token lacks what access tokens have, and has another typ and audience.
_FOR_ITS_CONTENTS = (
    errors.WrongHeaderType,
    errors.MissingClaim,
    errors.ExpiredToken,
    errors.WrongAudience,
    errors.WrongType,
)
_REFRESH = "exchange it at the refresh endpoint, and send the access token that comes"


def explain(refusal: RefusedToken) -> str:
    """The explanation in one line. It is safe to print, whatever the token contains."""
    if refusal.is_refresh_token and isinstance(refusal.error, _BEFORE_THE_TYPE):
        return f"it is a refresh token, as it says itself, and access tokens alone are taken: {_REFRESH}"
    if refusal.is_logout_token and isinstance(refusal.error, _FOR_ITS_CONTENTS):
        return (
            "it is a logout token, as it says itself: its issuer sends it to BackchannelLogout, or to AuthApp's route "
            "/backchannel-logout, and access tokens alone are taken here"
        )
    kinds = type(refusal.error).__mro__
    return next(EXPLANATIONS[kind] for kind in kinds if kind in EXPLANATIONS)(refusal)


def _too_large(refusal: RefusedToken) -> str:
    size, most = len(refusal.parsed.token), refusal.policy.max_token_size
    return (
        f"it has {size} bytes, ASGI_JWT_MAX_TOKEN_SIZE is {most}: have the issuer put fewer claims into it, or raise it"
    )


def _malformed(refusal: RefusedToken) -> str:
    if fault := fault_of_form(refusal.parsed):
        return fault
    if "kid" in refusal.header and not isinstance(refusal.header["kid"], str):
        return f"kid is {shown(refusal.header['kid'])}, and has to be a string: have the issuer name its key by one"
    return f"it is {_detail(refusal)}: have the issuer make it as RFC 9068 has it"


def _algorithm(refusal: RefusedToken) -> str:
    allowed = _any_of(sorted(refusal.policy.algorithms), quoted=False)
    found = f"{found_as(refusal.header, 'alg')}, allowed here: {allowed}"
    alg = refusal.header.get("alg")
    name = alg if isinstance(alg, str) else ""
    if name.strip().lower() == "none":
        return f"{found}: nobody signed it, and it proves nothing: ask the issuer for a signed one"
    own = {made_for for key in refusal.keys if key.verifies for made_for in key.algorithms}
    made_for = ASYMMETRIC if refusal.remote else own
    if name in SYMMETRIC - made_for:
        return (
            f"{found}: it is signed with a secret, as which no public key may pass: have the issuer sign with its key"
        )
    also = ", or add it to ASGI_JWT_ALGORITHMS" if name in made_for else ""
    return f"{found}: have the issuer sign with one of them{also}"


def _extension(refusal: RefusedToken) -> str:
    found = " and ".join(found_as(refusal.header, name) for name in ("crit", "b64") if name in refusal.header)
    return f"{found} in its header, and no extension is understood here: have the issuer leave it out"


def _header_type(refusal: RefusedToken) -> str:
    found, expected = found_as(refusal.header, "typ"), _any_of(sorted(refusal.policy.typ), quoted=False)
    if refusal.is_refresh_token:
        return (
            f"it is a refresh token, {found}, and access tokens alone are taken (ASGI_JWT_TYP: {expected}): {_REFRESH}"
        )
    if "typ" not in refusal.header:
        return f"{found} in its header, ASGI_JWT_REQUIRE_TYP asks for {expected}: have the issuer set it, or don't ask"
    return f"{found}, ASGI_JWT_TYP is {expected}: send an access token, or add its typ there if it is one"


def _unknown_key(refusal: RefusedToken) -> str:
    if refusal.error.detail is not None:
        return f"{found_as(refusal.header, 'kid')}, {_detail(refusal)}: have the issuer name the key by its own kid"
    kids = _any_of(key.kid for key in refusal.keys if key.declared)
    found = f"{found_as(refusal.header, 'kid')}, the kids of {refusal.key_source} are {kids}"
    if refusal.remote:
        return f"{found}: ask the issuer for a new token, and see that it is the issuer of this one"
    return f"{found}: ask for a new token, or add the issuer's key there"


def _unsuitable_key(refusal: RefusedToken) -> str:
    kid, alg = refusal.header.get("kid"), found_as(refusal.header, "alg")
    named = [key for key in refusal.keys if key.declared and key.kid == kid]
    if others := [key.issuer for key in named if key.issuer is not None and not key.verifies]:
        return (
            f"the key {shown(kid)} of {refusal.key_source} names another issuer, {shown(others[0])}: "
            "have the issuer sign with a key of this tenant"
        )
    if any(not key.verifies for key in named):
        return (
            f"the key {shown(kid)} of {refusal.key_source} is not for verifying signatures (use, key_ops): "
            "have the issuer sign with one that is"
        )
    if not named:
        return f"{alg}, no key of {refusal.key_source} is made for it: have the issuer sign with one that is there"
    made_for = _any_of(dict.fromkeys(name for key in named for name in key.algorithms), quoted=False)
    return (
        f"{alg}, the key {shown(kid)} of {refusal.key_source} is made for {made_for}: "
        "have the issuer name the key that it signs with"
    )


def _signature(refusal: RefusedToken) -> str:
    kid = refusal.header.get("kid")
    named = any(key.declared and key.kid == kid for key in refusal.keys)
    whose = f"the key {shown(kid)} of {refusal.key_source}" if named else refusal.key_source
    ignored = [name for name in _KEYS_IN_HEADER if name in refusal.header]
    also = f" ({', '.join(ignored)} in the header is never used)" if ignored else ""
    return (
        f"its signature was not made with {whose}{also}: it was changed, or another key signed it: "
        "ask for a new token, and see that the key is the one its issuer signs with"
    )


def _malformed_claims(refusal: RefusedToken) -> str:
    claims, audience = refusal.claims, refusal.policy.audience_claim
    for name in ("exp", "nbf", "iat"):
        if name in claims and not _is_time(claims[name]):
            return f"{refusal.found(name)}, and has to be a number, seconds since 1970: have the issuer send one"
    if "sub" in claims and not (isinstance(claims["sub"], str) and claims["sub"]):
        return f"{refusal.found('sub')}, and has to be a string that is not empty: have the issuer name the user"
    for name in ("jti", "sid"):
        if not isinstance(claims.get(name, ""), str):
            return f"{refusal.found(name)}, and has to be a string: have the issuer send one, or leave it out"
    return f"{refusal.found(audience)}, and has to be a string or a list of them: have the issuer name this service"


def _missing(refusal: RefusedToken) -> str:
    name = refusal.error.detail or ""
    if name == "exp":
        return "exp is missing, and every token has to expire: have the issuer set it"
    if name == "iss":
        return f"iss is missing, ASGI_JWT_ISSUER is {_any_of(refusal.issuers)}: have the issuer name itself"
    if name == "sub":
        return "sub is missing, and says whose token it is: have the issuer name its user there, or its client"
    if name == refusal.policy.audience_claim and refusal.policy.audience is not None:
        return (
            f"{refusal.found(name)}, ASGI_JWT_AUDIENCE is {_any_of(refusal.policy.audience)}: "
            "ask for a token for this service, or name the claim that holds it in ASGI_JWT_AUDIENCE_CLAIM"
        )
    return f"{refusal.found(name)}, ASGI_JWT_REQUIRED_CLAIMS asks for it: have the issuer add it, or don't ask for it"


def _wrong_claim(refusal: RefusedToken) -> str:
    name = refusal.error.detail or ""
    if name == "tid" and name not in dict(refusal.policy.required_claims):
        return explain_tid(refusal)
    if name == "cnf":
        return _confirmation(refusal)
    expected = _any_of(value for claim, value in refusal.policy.required_claims if claim == name and value is not None)
    return f"{refusal.found(name)}, ASGI_JWT_REQUIRED_CLAIMS asks for {expected}: send the token of one who has it"


def _confirmation(refusal: RefusedToken) -> str:
    with suppress(errors.WrongClaim):
        bound_to(refusal.claims)
        return f"{refusal.found('cnf')}, and ASGI_JWT_DPOP is off: ask for a token without it, or set ASGI_JWT_DPOP=on"
    return f"{refusal.found('cnf')}, and only proofs of its member jkt are checked here: ask for a token without"


def _expired(refusal: RefusedToken) -> str:
    when = moment(refusal.claims.get("exp", 0), refusal.now)
    return (
        f"exp is {when}, ASGI_JWT_LEEWAY is {spelled_duration(refusal.policy.leeway)}: refresh it; "
        "if it was made just now, set this machine's clock"
    )


def _ahead(name: str, mend: str) -> Callable[[RefusedToken], str]:
    def explanation(refusal: RefusedToken) -> str:
        when = moment(refusal.claims.get(name, 0), refusal.now)
        return f"{name} is {when}, ASGI_JWT_LEEWAY is {spelled_duration(refusal.policy.leeway)}: {mend}"

    return explanation


def _issuer(refusal: RefusedToken) -> str:
    if of_tenant := explain_tenant(refusal):
        return of_tenant
    iss = refusal.claims.get("iss")
    found = f"{refusal.found('iss')}, ASGI_JWT_ISSUER is {_any_of(refusal.issuers)}"
    near_tenants = isinstance(iss, str) and any(is_nearly_tenant(each, iss) for each in refusal.patterns)
    if near_tenants or (isinstance(iss, str) and loosely(iss) in map(loosely, refusal.issuers)):
        return f"{found}: they have to be the same to the letter, slash and case: write there what the token has"
    return f"{found}: ask that issuer for a token, or name this one's there, if you trust it"


def _audience(refusal: RefusedToken) -> str:
    name = refusal.policy.audience_claim
    found = f"{refusal.found(name)}, ASGI_JWT_AUDIENCE is {_any_of(refusal.policy.audience or ())}"
    if ids := [claim for claim in _OF_ID_TOKENS if claim in refusal.claims]:
        return f"{found}: it looks like an ID token, for it has {ids[0]}: send the access token"
    named = [aud] if isinstance(aud := find_claim(refusal.claims, name), str) else aud
    usable = isinstance(named, list) and any(isinstance(each, str) and each not in ("", "*") for each in named)
    return f"{found}: ask for a token for this service{', or add it to ASGI_JWT_AUDIENCE' if usable else ''}"


def _type(refusal: RefusedToken) -> str:
    if refusal.error.detail is not None:
        said_by = "events say" if "events" in refusal.claims else "token_type, token_use or typ says"
        return f"it is {_detail(refusal)}, as its {said_by}: send an access token"
    name, expected = refusal.policy.type or ("type", "access")
    found = f"{refusal.found(name)}, ASGI_JWT_TYPE is {name}={expected}"
    if refusal.is_refresh_token:
        return f"it is a refresh token, {found}: {_REFRESH}"
    return f"{found}: have the issuer set it, or set ASGI_JWT_TYPE=* if its access tokens have no such claim"


def _unbound(refusal: RefusedToken) -> str:
    return f"{refusal.found('cnf')}, ASGI_JWT_DPOP is required: log in with a proof of a key, or set it to on"


def _inactive(refusal: RefusedToken) -> str:
    return (
        "it is opaque, and the server at ASGI_JWT_INTROSPECTION_URL does not call it active: it has ended, was "
        "revoked, or is another server's: ask for a new token"
    )


def _revoked(refusal: RefusedToken) -> str:
    return (
        f"it was revoked: itself ({refusal.found('jti')}), its session ({refusal.found('sid')}), "
        f"or all tokens of its user up to then ({refusal.found('sub')}): log in again"
    )


def _refused(refusal: RefusedToken) -> str:
    return f"the service's own validate refuses it, {_detail(refusal)}: see what it asks of {refusal.found('sub')}"


def _otherwise(refusal: RefusedToken) -> str:
    return f"{_detail(refusal)}: ask for a new token"


def _keys_unavailable(refusal: RefusedToken) -> str:
    return (
        f"the keys of {refusal.key_source} can't be had, {_detail(refusal)}: requests are answered with 503 until they "
        "can: `asgi-jwt check` looks at them"
    )


def _verifier_unavailable(refusal: RefusedToken) -> str:
    return (
        f"its authorization server can't be asked, {_detail(refusal)}: requests are answered with 503 until it can: "
        "`asgi-jwt check` asks it"
    )


def _store_unavailable(refusal: RefusedToken) -> str:
    return (
        f"the store can't be asked whether it was revoked, {_detail(refusal)}: requests are answered with 503 until "
        "it can: `asgi-jwt check` looks at it"
    )


EXPLANATIONS: Mapping[type[AuthError], Callable[[RefusedToken], str]] = {
    errors.TokenTooLarge: _too_large,
    errors.MalformedToken: _malformed,
    errors.AlgorithmNotAllowed: _algorithm,
    errors.UnsupportedHeader: _extension,
    errors.WrongHeaderType: _header_type,
    errors.UnknownKey: _unknown_key,
    errors.UnsuitableKey: _unsuitable_key,
    errors.InvalidSignature: _signature,
    errors.MalformedClaims: _malformed_claims,
    errors.MissingClaim: _missing,
    errors.WrongClaim: _wrong_claim,
    errors.ExpiredToken: _expired,
    errors.ImmatureToken: _ahead("nbf", "wait until then; if it was made to hold at once, set the clocks"),
    errors.IssuedInFuture: _ahead("iat", "this machine's clock is behind or its issuer's ahead: set them"),
    errors.WrongIssuer: _issuer,
    errors.WrongAudience: _audience,
    errors.WrongType: _type,
    errors.UnboundToken: _unbound,
    errors.InactiveToken: _inactive,
    errors.RevokedToken: _revoked,
    errors.RefusedToken: _refused,
    errors.KeysUnavailable: _keys_unavailable,
    errors.VerifierUnavailable: _verifier_unavailable,
    errors.RevocationsUnavailable: _store_unavailable,
    errors.AuthError: _otherwise,
}
"""The explanation of each error. An error that is not listed has the explanation of its nearest parent."""


def _any_of(names: Iterable[str | None], *, quoted: bool = True) -> str:
    return listed(shown(name) if quoted else printable(str(name)) for name in names)


def _detail(refusal: RefusedToken) -> str:
    return printable(str(refusal.error))


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
