"""Tokens that have to be refused, each with its reason code, and the `Auth` that has to refuse it.

`FORGERIES[name].auth()` gives the `Auth`, `.token()` the token, `.reason` the reason. Most forgeries are
`genuine_token()`, which `keys_auth()` accepts, with one thing wrong.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from support.tokens import (
    AUDIENCE,
    ISSUER,
    LOGOUT_EVENT,
    NOW,
    SECRET,
    Sign,
    claims,
    ec_key,
    es256,
    genuine,
    genuine_token,
    head,
    hs256,
    jws,
    keys_auth,
    public_pem,
    rs256,
    rsa_key,
    secret_auth,
    secret_token,
    segment,
    thief_key,
    without,
)

from asgi_jwt.auth import Auth


@dataclass(frozen=True)
class Forgery:
    """A token to refuse: with this reason code, by this `Auth`."""

    reason: str
    token: Callable[[], str]
    auth: Callable[[], Auth] = keys_auth


def _header(reason: str, sign: Sign = genuine, **changes: Any) -> Forgery:
    return Forgery(reason, lambda: jws(head(**changes), claims(), sign))


def _claims(reason: str, **changes: Any) -> Forgery:
    return Forgery(reason, lambda: genuine_token(**changes))


def _lacking(name: str, reason: str = "claim_missing") -> Forgery:
    return Forgery(reason, lambda: jws(head(), without(name), genuine))


def _payload(content: bytes, reason: str = "token_malformed") -> Forgery:
    return Forgery(reason, lambda: jws(head(), content, genuine))


def _raw_header(content: bytes) -> Forgery:
    return Forgery("token_malformed", lambda: jws(content, claims(), genuine))


def _spelled(change: Callable[[str, str, str], str], reason: str = "token_malformed") -> Forgery:
    def token() -> str:
        header, payload, signature = genuine_token().split(".")
        return change(header, payload, signature)

    return Forgery(reason, token)


def _thief(message: bytes) -> bytes:
    return es256(thief_key())(message)


_ABSENT = object()


def _embedded(reason: str, **changes: Any) -> Forgery:
    """A token that only the key in its own header would verify."""

    def token() -> str:
        jwk = ECAlgorithm.to_jwk(thief_key().public_key(), as_dict=True)
        named = head(**{name: jwk if value == "jwk" else value for name, value in changes.items()})
        return jws({name: value for name, value in named.items() if value is not _ABSENT}, claims(), _thief)

    return Forgery(reason, token)


def _none(alg: str) -> Forgery:
    return Forgery("algorithm_not_allowed", lambda: jws({"alg": alg}, claims(), lambda _: b""))


def _der(message: bytes) -> bytes:
    return ec_key().sign(message, ec.ECDSA(hashes.SHA256()))


def _unused_bits(content: str) -> str:
    """The same bytes in another spelling: the last character's unused bits set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return content[:-1] + alphabet[alphabet.index(content[-1]) | 1]


def _with(text: bytes) -> bytes:
    """The JSON of the claims with `text` for the value of `exp`."""
    return json.dumps(without("exp"))[:-1].encode() + b', "exp": ' + text + b"}"


_CLAIMS = json.dumps(claims()).encode()
_HEAD = json.dumps(head()).encode()

FORGERIES: dict[str, Forgery] = {
    # The algorithm: RFC 8725 sections 2.1 and 3.1.
    "alg none": _none("none"),
    "alg None": _none("None"),
    "alg NONE": _none("NONE"),
    "alg nOnE": _none("nOnE"),
    "alg none with a space": _none("none "),
    "alg none with a signature": _header("algorithm_not_allowed", alg="none"),
    "alg none against a secret": Forgery("algorithm_not_allowed", _none("none").token, secret_auth),
    "alg absent": Forgery("algorithm_not_allowed", lambda: jws({"kid": "p256"}, claims(), genuine)),
    "alg null": _header("algorithm_not_allowed", alg=None),
    "alg a list": _header("algorithm_not_allowed", alg=["ES256"]),
    "alg a number": _header("algorithm_not_allowed", alg=256),
    "alg in lower case": _header("algorithm_not_allowed", alg="es256"),
    "alg unknown": _header("algorithm_not_allowed", alg="ES256K"),
    "alg PS256 with a key made for RS256": _header("algorithm_not_allowed", rs256, alg="PS256", kid="rsa"),
    "public key as secret": Forgery(
        "algorithm_not_allowed",
        lambda: jws({"alg": "HS256", "kid": "rsa"}, claims(), hs256(public_pem(rsa_key()))),
    ),
    "public key as secret, its last line break gone": Forgery(
        "algorithm_not_allowed",
        lambda: jws({"alg": "HS256"}, claims(), hs256(public_pem(rsa_key()).rstrip())),
    ),
    "alg RS256 against a secret": Forgery(
        "algorithm_not_allowed", lambda: jws({"alg": "RS256"}, claims(), rs256), secret_auth
    ),
    # The header: RFC 7515 section 4.1, RFC 7797, RFC 8725 sections 3.10 and 3.11.
    "crit": _header("header_unsupported", crit=["exp"]),
    "crit empty": _header("header_unsupported", crit=[]),
    "b64 false": _header("header_unsupported", b64=False, crit=["b64"]),
    "b64 false without crit": _header("header_unsupported", b64=False),
    "typ of a refresh token": _header("header_type_invalid", typ="rt+jwt"),
    "typ of another kind": _header("header_type_invalid", typ="logout+jwt"),
    "typ of a logout token, its media type in full": _header("header_type_invalid", typ="application/logout+jwt"),
    "typ of a refresh token, its media type in full": _header("header_type_invalid", typ="application/RT+JWT"),
    "typ of another tree of media types": _header("header_type_invalid", typ="text/at+jwt"),
    "typ with application/ twice": _header("header_type_invalid", typ="application/application/at+jwt"),
    "typ of application/ alone": _header("header_type_invalid", typ="application/"),
    "typ null": _header("header_type_invalid", typ=None),
    "typ a list": _header("header_type_invalid", typ=["at+jwt"]),
    "kid unknown": _header("key_unknown", kid="other"),
    "kid empty": _header("key_unknown", kid=""),
    "kid a path": _header("key_unknown", kid="../../../../dev/null"),
    "kid a number": _header("token_malformed", kid=1),
    "kid a list": _header("token_malformed", kid=["p256"]),
    "kid an object": _header("token_malformed", kid={}),
    "kid true": _header("token_malformed", kid=True),
    "kid null": _header("token_malformed", kid=None),
    "kid null against a secret": Forgery(
        "token_malformed", lambda: jws({"alg": "HS256", "kid": None}, claims(), hs256(SECRET)), secret_auth
    ),
    "embedded jwk": _embedded("signature_invalid", jwk="jwk"),
    "embedded jwk and no kid": _embedded("signature_invalid", jwk="jwk", kid=_ABSENT),
    "embedded jwk under a kid of its own": _embedded("key_unknown", jwk="jwk", kid="thief"),
    "embedded x5c": _embedded("signature_invalid", x5c=["MIIB"]),
    "jku": _embedded("signature_invalid", jku="https://thief.example/jwks.json"),
    "jku under a kid of its own": _embedded("key_unknown", jku="https://thief.example/jwks.json", kid="thief"),
    "x5u": _embedded("signature_invalid", x5u="https://thief.example/chain.pem"),
    # The key: RFC 8725 section 3.1, RFC 7517 sections 4.2 and 4.3.
    "key of another family": _header("key_unsuitable", kid="rsa"),
    "key of another curve": _header("key_unsuitable", kid="p384"),
    "Ed25519 key for ES256": _header("key_unsuitable", kid="ed25519"),
    "EC key for EdDSA": _header("key_unsuitable", alg="EdDSA"),
    "EC key for RS256": _header("key_unsuitable", rs256, alg="RS256"),
    "key for encryption": _header("key_unsuitable", rs256, alg="RS256", kid="enc"),
    "key_ops without verify": _header("key_unsuitable", rs256, alg="RS256", kid="no-verify"),
    # The signature.
    "signature of another key": _header("signature_invalid", _thief),
    "signature all zero": _header("signature_invalid", lambda _: bytes(64)),
    "signature of r and s one": _header("signature_invalid", lambda _: (bytes(31) + b"\1") * 2),
    "signature empty": _header("signature_invalid", lambda _: b""),
    "signature cut short": _header("signature_invalid", lambda message: genuine(message)[:-1]),
    "signature with a byte more": _header("signature_invalid", lambda message: genuine(message) + b"\0"),
    "signature in DER": _header("signature_invalid", _der),
    "RSA signature all zero": _header("signature_invalid", lambda _: bytes(256), alg="RS256", kid="rsa"),
    "RSA signature empty": _header("signature_invalid", lambda _: b"", alg="RS256", kid="rsa"),
    "Ed25519 signature all zero": _header("signature_invalid", lambda _: bytes(64), alg="EdDSA", kid="ed25519"),
    "Ed25519 signature empty": _header("signature_invalid", lambda _: b"", alg="Ed25519", kid="ed25519"),
    "HMAC empty": Forgery("signature_invalid", lambda: jws({"alg": "HS256"}, claims(), lambda _: b""), secret_auth),
    "HMAC with an empty secret": Forgery(
        "signature_invalid", lambda: jws({"alg": "HS256"}, claims(), hs256("")), secret_auth
    ),
    "payload of another token": _spelled(
        lambda header, _, signature: f"{header}.{segment(claims(sub='admin'))}.{signature}", "signature_invalid"
    ),
    "header of another token": _spelled(
        lambda _, payload, signature: f"{segment(head(typ='JWT'))}.{payload}.{signature}", "signature_invalid"
    ),
    # The compact form: RFC 7515 sections 2 and 7.1, RFC 4648 section 3.5.
    "empty": Forgery("token_malformed", lambda: ""),
    "two dots alone": Forgery("token_malformed", lambda: ".."),
    "no dots": Forgery("token_malformed", lambda: "opaque"),
    "two segments": _spelled(lambda header, payload, _: f"{header}.{payload}"),
    "four segments": _spelled(lambda *segments: ".".join([*segments, "e30"])),
    "five segments": _spelled(lambda *segments: ".".join([*segments, "e30", "e30"])),
    "a dot more": _spelled(lambda *segments: ".".join(segments) + "."),
    "padded header": _spelled(lambda header, payload, signature: f"{header}=.{payload}.{signature}"),
    "padded payload": _spelled(lambda header, payload, signature: f"{header}.{payload}=.{signature}"),
    "padded signature": _spelled(lambda *segments: ".".join(segments) + "=="),
    "unused bits set": _spelled(lambda header, payload, signature: f"{header}.{payload}.{_unused_bits(signature)}"),
    "standard base64": _spelled(lambda header, payload, signature: f"{header}.{payload}.+/{signature[2:]}"),
    "a space in base64url": _spelled(lambda header, payload, signature: f"{header}.{payload}. {signature}"),
    "a line break in base64url": _spelled(lambda header, payload, signature: f"{header}.{payload}\n.{signature}"),
    "a line break behind": _spelled(lambda *segments: ".".join(segments) + "\n"),
    "trailing rubbish": _spelled(lambda *segments: ".".join(segments) + ",rubbish"),
    "a single character as a segment": _spelled(lambda header, payload, _: f"{header}.{payload}.A"),
    "not ASCII": _spelled(lambda header, payload, signature: f"{header}.{payload}.é{signature}"),
    "full-width dots": _spelled(lambda *segments: "\uff0e".join(segments)),
    "more than 8192 bytes": _claims("token_too_large", padding="x" * 7000),
    "9 KB of rubbish": Forgery("token_too_large", lambda: "x" * 9216),
    # JSON: RFC 7515 section 4, RFC 7519 section 7.2, RFC 8259.
    "header an array": _raw_header(b'["alg", "ES256"]'),
    "header a string": _raw_header(b'"ES256"'),
    "header empty": _raw_header(b""),
    "header no JSON": _raw_header(b"{alg: ES256}"),
    "header not UTF-8": _raw_header(b'{"alg": "ES256", "x": "\xff"}'),
    "header in UTF-16": _raw_header(_HEAD.decode().encode("utf-16")),
    "header with a byte order mark": _raw_header(b"\xef\xbb\xbf" + _HEAD),
    "header with a repeated name": _raw_header(b'{"alg": "none", "alg": "ES256", "kid": "p256"}'),
    "header deep": _raw_header(b'{"alg": "ES256", "x": ' + b"[" * 2500 + b"]" * 2500 + b"}"),
    "header of deep objects": _raw_header(b'{"x":' * 900 + b"1" + b"}" * 900),
    "header with rubbish behind": _raw_header(_HEAD + b"{}"),
    "payload an array": _payload(b"[" + _CLAIMS + b"]"),
    "payload a string": _payload(b'"alice"'),
    "payload null": _payload(b"null"),
    "payload empty": _payload(b""),
    "payload no JSON": _payload(b"alice"),
    "payload not UTF-8": _payload(_CLAIMS[:-1] + b', "name": "\xff"}'),
    "payload in UTF-16": _payload(_CLAIMS.decode().encode("utf-16")),
    "payload with a byte order mark": _payload(b"\xef\xbb\xbf" + _CLAIMS),
    "payload with a repeated name": _payload(_CLAIMS[:-1] + b', "sub": "admin"}'),
    "payload with a repeated name, escaped": _payload(_CLAIMS[:-1] + b', "s\\u0075b": "admin"}'),
    "payload with a repeated name inside": _payload(_CLAIMS[:-1] + b', "x": [{"a": 1, "a": 2}]}'),
    "payload deep": _payload(_CLAIMS[:-1] + b', "x": ' + b"[" * 2500 + b"]" * 2500 + b"}"),
    "payload of deep objects": _payload(_CLAIMS[:-1] + b', "x": ' + b'{"x":' * 500 + b"1" + b"}" * 501),
    "payload with rubbish behind": _payload(_CLAIMS + b"x"),
    "payload with NaN": _payload(_CLAIMS[:-1] + b', "x": NaN}'),
    "payload with a number of 5000 digits": _payload(_CLAIMS[:-1] + b', "x": ' + b"9" * 5000 + b"}"),
    # The times: RFC 7519 sections 2 and 4.1.4 to 4.1.6.
    "exp absent": _lacking("exp"),
    "exp null": _claims("claims_malformed", exp=None),
    "exp a string": _claims("claims_malformed", exp=str(NOW + 600)),
    "exp true": _claims("claims_malformed", exp=True),
    "exp a list": _claims("claims_malformed", exp=[NOW + 600]),
    "exp NaN": _payload(_with(b"NaN")),
    "exp Infinity": _payload(_with(b"Infinity")),
    "exp 1e400": _payload(_with(b"1e400"), "claims_malformed"),
    "exp of 400 digits": _payload(_with(b"9" * 400), "claims_malformed"),
    "exp -1e400": _payload(_with(b"-1e400"), "claims_malformed"),
    "exp past": _claims("token_expired", exp=NOW - 30),
    "exp zero": _claims("token_expired", exp=0),
    "exp below zero": _claims("token_expired", exp=-1),
    "nbf ahead": _claims("token_not_yet_valid", nbf=NOW + 31),
    "nbf a string": _claims("claims_malformed", nbf=str(NOW)),
    "nbf false": _claims("claims_malformed", nbf=False),
    "nbf null": _claims("claims_malformed", nbf=None),
    "iat ahead": _claims("token_issued_in_future", iat=NOW + 31),
    "iat a string": _claims("claims_malformed", iat=str(NOW)),
    "iat true": _claims("claims_malformed", iat=True),
    "iat 1e400": _payload(json.dumps(without("iat"))[:-1].encode() + b', "iat": -1e400}', "claims_malformed"),
    # Whose token, for whom: RFC 7519 sections 4.1.1 to 4.1.3, RFC 8725 sections 3.8 and 3.9.
    "iss absent": _lacking("iss"),
    "iss another": _claims("issuer_invalid", iss="https://thief.example"),
    "iss longer": _claims("issuer_invalid", iss=f"{ISSUER}.thief.example"),
    "iss a prefix": _claims("issuer_invalid", iss=ISSUER[:-1]),
    "iss with a slash behind": _claims("issuer_invalid", iss=f"{ISSUER}/"),
    "iss in upper case": _claims("issuer_invalid", iss=ISSUER.upper()),
    "iss a list": _claims("issuer_invalid", iss=[ISSUER]),
    "iss null": _claims("issuer_invalid", iss=None),
    "aud absent": _lacking("aud"),
    "aud another": _claims("audience_invalid", aud="https://other.example"),
    "aud longer": _claims("audience_invalid", aud=f"{AUDIENCE}.thief.example"),
    "aud a prefix": _claims("audience_invalid", aud=AUDIENCE[:-1]),
    "aud empty": _claims("audience_invalid", aud=""),
    "aud a star": _claims("audience_invalid", aud="*"),
    "aud a list of others": _claims("audience_invalid", aud=["https://other.example", "*"]),
    "aud an empty list": _claims("claims_malformed", aud=[]),
    "aud null": _claims("claims_malformed", aud=None),
    "aud an object": _claims("claims_malformed", aud={AUDIENCE: True}),
    "aud a list with a number": _claims("claims_malformed", aud=[AUDIENCE, 1]),
    "aud a list in a list": _claims("claims_malformed", aud=[[AUDIENCE]]),
    "sub absent": _lacking("sub"),
    "sub empty": _claims("claims_malformed", sub=""),
    "sub a number": _claims("claims_malformed", sub=1),
    "sub null": _claims("claims_malformed", sub=None),
    "jti a number": _claims("claims_malformed", jti=1),
    "jti a list": _claims("claims_malformed", jti=["1"]),
    "jti an object": _claims("claims_malformed", jti={"1": "1"}),
    "jti true": _claims("claims_malformed", jti=True),
    "jti null": _claims("claims_malformed", jti=None),
    "sid a number": _claims("claims_malformed", sid=1.5),
    "sid a list": _claims("claims_malformed", sid=["s1"]),
    "sid an object": _claims("claims_malformed", sid={}),
    "sid false": _claims("claims_malformed", sid=False),
    "sid null": _claims("claims_malformed", sid=None),
    "type absent": _lacking("type", "type_invalid"),
    "type of a refresh token": _claims("type_invalid", type="refresh"),
    "type a list": _claims("type_invalid", type=["access"]),
    # Tokens of another kind: OpenID Connect Back-Channel Logout 1.0 section 2.4, RFC 7800 section 3.1.
    "logout token": _claims("type_invalid", events={LOGOUT_EVENT: {}}, sid="s1"),
    "logout token with another event": _claims("type_invalid", events={"https://event.example": {}, LOGOUT_EVENT: {}}),
    "logout token whose event is null": _claims("type_invalid", events={LOGOUT_EVENT: None}),
    "logout token against a secret": Forgery(
        "type_invalid", lambda: secret_token(events={LOGOUT_EVENT: {}}), secret_auth
    ),
    "bound to a key": _claims("claim_invalid", cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
    "bound to a certificate": _claims("claim_invalid", cnf={"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}),
    "bound to nothing": _claims("claim_invalid", cnf={}),
    "cnf null": _claims("claim_invalid", cnf=None),
    "cnf a string": _claims("claim_invalid", cnf="jkt"),
    "bound to a key, against a secret": Forgery("claim_invalid", lambda: secret_token(cnf={"jkt": "x"}), secret_auth),
    "refresh token": Forgery(
        "header_type_invalid",
        lambda: jws(head(typ="rt+jwt"), claims(type="refresh", sid="1", gen=1, br="1"), genuine),
    ),
    "refresh token under another typ": Forgery(
        "type_invalid", lambda: jws(head(), claims(type="refresh", sid="1", gen=1, br="1"), genuine)
    ),
}
