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
from support.tables import tables_of
from support.tokens import (
    LOGOUT_EVENT,
    NOW,
    SECRET,
    Sign,
    claims,
    ec_key,
    ecdsa,
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
    lacks: str | None = None


def _header(reason: str, sign: Sign = genuine, **changes: Any) -> Forgery:
    return Forgery(reason, lambda: jws(head(**changes), claims(), sign))


def _claims(reason: str, **changes: Any) -> Forgery:
    return Forgery(reason, lambda: genuine_token(**changes))


def _lacking(name: str, reason: str = "claim_missing") -> Forgery:
    lacks = name if reason == "claim_missing" else None
    return Forgery(reason, lambda: jws(head(), without(name), genuine), lacks=lacks)


def _each(make: Callable[..., Forgery], reason: str, name: str, *values: object) -> dict[str, Forgery]:
    """A forgery for each value of one claim, or of one member of the header."""
    return {f"{name} {value!r}"[:80]: make(reason, **{name: value}) for value in values}


def _payload(content: bytes, reason: str = "token_malformed") -> Forgery:
    return Forgery(reason, lambda: jws(head(), content, genuine))


def _payloads(*contents: bytes) -> dict[str, Forgery]:
    return {f"payload {content[-40:]!r}": _payload(content) for content in contents}


def _more(*members: bytes) -> dict[str, Forgery]:
    """The claims with more members."""
    return _payloads(*(_CLAIMS[:-1] + more for more in members))


def _raw_headers(*contents: bytes) -> dict[str, Forgery]:
    def forgery(content: bytes) -> Forgery:
        return Forgery("token_malformed", lambda: jws(content, claims(), genuine))

    return {f"header {content[:80]!r}": forgery(content) for content in contents}


def _others_than(name: str) -> tuple[str, ...]:
    return ("https://other.example", f"{name}.thief.example", name[:-1])


def _spelled(change: Callable[[str, str, str], str], reason: str = "token_malformed") -> Forgery:
    def token() -> str:
        header, payload, signature = genuine_token().split(".")
        return change(header, payload, signature)

    return Forgery(reason, token)


def _thief(message: bytes) -> bytes:
    return ecdsa(thief_key())(message)


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

_NO_TIMES: tuple[object, ...] = (None, True, False, "1", str(NOW + 600), [], [NOW + 600], {}, 1e300, 2**63, -(10**400))


_NO_OBJECTS = (
    *(b"null", b"1", b"1" + b"[" * 100, b'"' + b"{" * 100 + b'"', b"[]", b"[" + b"[]," * 100 + b"[]]"),
    *(b'{"a": {"b": 1, "\\u0062": 2}}', b'{"a": [{"b": 1, "b": 2}]}', b'{"a": NaN}', b'{"a": [Infinity]}'),
    *(b'{"a": -Infinity}', b"{}{}", b"{} x", b'{"a": 1,}', b"{'a': 1}", b'{"a": "\xed\xa0\x80"}'),
    *(b'{"a": ' + b"1" * 5000 + b"}", b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}", "\u00a0{}".encode()),
)

_TABLES = tables_of(__file__)
FORGERIES: dict[str, Forgery] = {
    **{name: _header(reason, **changes) for name, (reason, changes) in _TABLES["header"].items()},
    **{name: _claims(reason, **changes) for name, (reason, changes) in _TABLES["claims"].items()},
    **{name: _spelled(template.format) for name, template in _TABLES["spelled"].items()},
    **{
        name: forgery
        for kind, reason, member, values in _TABLES["each"]
        for name, forgery in _each({"header": _header, "claims": _claims}[kind], reason, member, *values).items()
    },
    # The algorithm: RFC 8725 sections 2.1 and 3.1.
    **{f"alg {alg}, unsigned": _none(alg) for alg in ("none", "None", "NONE", "nOnE", "none ")},
    "alg none against a secret": Forgery("algorithm_not_allowed", _none("none").token, secret_auth),
    "alg absent": Forgery("algorithm_not_allowed", lambda: jws({"kid": "p256"}, claims(), genuine)),
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
    "unused bits set": _spelled(lambda header, payload, signature: f"{header}.{payload}.{_unused_bits(signature)}"),
    "standard base64": _spelled(lambda header, payload, signature: f"{header}.{payload}.+/{signature[2:]}"),
    "more than 8192 bytes": _claims("token_too_large", padding="x" * 7000),
    "9 KB of rubbish": Forgery("token_too_large", lambda: "x" * 9216),
    # JSON: RFC 7515 section 4, RFC 7519 section 7.2, RFC 8259.
    **_raw_headers(
        b'["alg", "ES256"]', b'"ES256"', b"", b"{alg: ES256}", b'{"alg": "ES256", "x": "\xff"}', _HEAD + b"{}"
    ),
    **_raw_headers(
        _HEAD.decode().encode("utf-16"), b"\xef\xbb\xbf" + _HEAD, b'{"alg": "none", "alg": "ES256", "kid": "p256"}'
    ),
    **_raw_headers(b'{"alg": "ES256", "x": ' + b"[" * 2500 + b"]" * 2500 + b"}", b'{"x":' * 900 + b"1" + b"}" * 900),
    **_payloads(b"[" + _CLAIMS + b"]", b'"alice"', b"null", b"", b"alice", _CLAIMS + b"x", b"\xef\xbb\xbf" + _CLAIMS),
    **_payloads(_CLAIMS.decode().encode("utf-16"), *_NO_OBJECTS),
    **_raw_headers(*_NO_OBJECTS),
    **_more(b', "name": "\xff"}', b', "sub": "admin"}', b', "s\\u0075b": "admin"}', b', "x": [{"a": 1, "a": 2}]}'),
    **_more(b', "x": NaN}', b', "x": ' + b"9" * 5000 + b"}", b', "x": ' + b'{"x":' * 500 + b"1" + b"}" * 501),
    "payload deep": _payload(_CLAIMS[:-1] + b', "x": ' + b"[" * 2500 + b"]" * 2500 + b"}"),
    # The times: RFC 7519 sections 2 and 4.1.4 to 4.1.6.
    **{f"{name} absent": _lacking(name) for name in ("exp", "iss", "aud", "sub")},
    **{
        f"{name} {time!r}": _claims("claims_malformed", **{name: time})
        for name in ("exp", "nbf", "iat")
        for time in _NO_TIMES
    },
    "exp NaN": _payload(_with(b"NaN")),
    "exp Infinity": _payload(_with(b"Infinity")),
    "exp 1e400": _payload(_with(b"1e400"), "claims_malformed"),
    "exp of 400 digits": _payload(_with(b"9" * 400), "claims_malformed"),
    "exp -1e400": _payload(_with(b"-1e400"), "claims_malformed"),
    "iat 1e400": _payload(json.dumps(without("iat"))[:-1].encode() + b', "iat": -1e400}', "claims_malformed"),
    # Whose token, for whom: RFC 7519 sections 4.1.1 to 4.1.3, RFC 8725 sections 3.8 and 3.9.
    "type absent": _lacking("type", "type_invalid"),
    # Tokens of another kind: OpenID Connect Back-Channel Logout 1.0 section 2.4, RFC 7800 section 3.1.
    "logout token against a secret": Forgery(
        "type_invalid", lambda: secret_token(events={LOGOUT_EVENT: {}}), secret_auth
    ),
    "refresh token": Forgery(
        "header_type_invalid",
        lambda: jws(head(typ="rt+jwt"), claims(type="refresh", sid="1", gen=1, br="1"), genuine),
    ),
    "refresh token under another typ": Forgery(
        "type_invalid", lambda: jws(head(), claims(type="refresh", sid="1", gen=1, br="1"), genuine)
    ),
}
