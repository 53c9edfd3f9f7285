"""The table of proofs: each is wrong in one thing, or differs only in ways that RFC 9449 allows."""

import base64
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.proofs import AT_THE_RESOURCE, AT_THE_TOKEN_ENDPOINT, RFC_THUMBPRINT, Example, Holder
from support.tables import tables_of
from support.tokens import NOW, ecdsa, ed25519_key, hs256, p384_key, p521_key, rsa_key, segment

from asgi_jwt import InvalidProof, Proof
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.proofs import Proofs
from asgi_jwt.tokens.uri import normalized

URL = "https://api.example/orders/%C3%A9~x"
TOKEN = "a.bound.token"
CLOCK = Clock(NOW)
HOLDER = Holder(CLOCK)
SMALL_ORDER = segment(bytes(32))


def jwk_of(key: Any) -> dict[str, Any]:
    forms: Any = {ec.EllipticCurvePublicKey: ECAlgorithm, rsa.RSAPublicKey: RSAAlgorithm}
    public = key.public_key()
    form = next((form for kind, form in forms.items() if isinstance(public, kind)), OKPAlgorithm)
    members: dict[str, Any] = form.to_jwk(public, as_dict=True)
    return members


def rsa_holder(key: rsa.RSAPrivateKey, alg: str = "RS256") -> Holder:
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[alg[2:]]
    pad = padding.PKCS1v15() if alg.startswith("RS") else padding.PSS(padding.MGF1(digest), digest.digest_size)
    return Holder(CLOCK, lambda message: key.sign(message, pad, digest), jwk_of(key), alg)


def verify(proof: str, holder: Holder = HOLDER, *, url: str = URL, method: str = "GET") -> None:
    """The proof in a request with `TOKEN`, which is bound to the holder's key."""
    shown = Proof([proof.encode("latin-1")], method, url)
    Proofs(CLOCK).verify(shown, holder.thumbprint, sha256(TOKEN.encode()).digest())


@pytest.mark.parametrize("example", [AT_THE_TOKEN_ENDPOINT, AT_THE_RESOURCE])
def test_the_examples_of_the_rfc(example: Example) -> None:
    """RFC 9449: the proofs of its sections 4.1 and 7.1 verify at their time, and are of the key of section 6.1."""
    shown = Proof([example.proof], example.method, example.url)
    digest = None if example.access_token is None else sha256(example.access_token).digest()
    verified = Proofs(Clock(example.at)).verify(shown, None, digest)
    assert verified[0] == RFC_THUMBPRINT


WRONG_KEYS: list[Any] = [None, [], "x", {}, {"kty": "oct", "k": segment(b"x" * 32)}, jwk_of(p384_key())]
WRONG_MEMBERS: list[dict[str, Any]] = [
    *({"d": "AQ"}, {"k": "AQ"}, {"kty": "OKP"}, {"kty": []}, {"x": None}, {"y": ""}, {"x": "AQ"}, {"crv": "P-384"}),
    *({"use": "enc"}, {"alg": "ES384"}, {"key_ops": ["sign"]}, {"kid": 1}),
]
WRONG_HEADERS: list[Any] = [
    b"[]",
    b'{"typ":"dpop+jwt","typ":"dpop+jwt"}',
    *({"typ": typ} for typ in ("JWT", "at+jwt", "dpop", "", None, ["dpop+jwt"])),
    *({"alg": alg} for alg in ("HS256", "none", "ES384", "RS256", "es256", "", None, ["ES256"])),
    {"crit": ["exp"], "exp": NOW},
    {"b64": False},
    *({"jwk": jwk} for jwk in WRONG_KEYS),
    *({"jwk": {**HOLDER.jwk, **changes}} for changes in WRONG_MEMBERS),
    {"jwk": {**HOLDER.jwk, "x": HOLDER.jwk["x"] + "="}},
    {"jwk": {**HOLDER.jwk, "x": "\ud800"}},
    {"jwk": {**HOLDER.jwk, "y": jwk_of(ec.generate_private_key(ec.SECP256R1()))["y"]}},
]


@pytest.mark.parametrize("header", WRONG_HEADERS)
def test_a_header_that_is_wrong_in_one_thing(header: Any) -> None:
    """A proof says what it is, names an asymmetric algorithm, and shows the public key that the token is bound to."""
    with pytest.raises(InvalidProof):
        verify(HOLDER.proof(URL, "GET", TOKEN, header=header))


NOT_NEAR = (NOW - 60.5, NOW + 60.5, NOW - 61, NOW + 61, 0, -NOW, 10**90, str(NOW), True, None, [NOW])
WRONG_CLAIMS: list[Any] = [
    b"[]",
    b"{}x",
    b'{"iat":NaN}',
    b'{"iat":1e999}',
    *({"htm": method} for method in ("POST", "get", "", None, ["GET"])),
    *({"htu": url} for url in ("", None, [URL], "/orders", "x" * 3000)),
    *({"ath": ath} for ath in (segment(b"x" * 32), "", None, TOKEN)),
    *({"jti": jti} for jti in ("", None, 1, ["x"])),
    *({"iat": at} for at in NOT_NEAR),
]


@pytest.mark.parametrize("claims", WRONG_CLAIMS)
def test_claims_that_are_wrong_in_one_thing(claims: Any) -> None:
    """A proof is for one method, URL and token, was made within 60 s, and has an identifier."""
    with pytest.raises(InvalidProof):
        verify(HOLDER.proof(URL, "GET", TOKEN, claims=claims))


@pytest.mark.parametrize("name", ["typ", "alg", "jwk", "htm", "htu", "ath", "jti", "iat"])
def test_a_proof_without_a_member(name: str) -> None:
    """RFC 9449 section 4.3: each member is required."""
    with pytest.raises(InvalidProof):
        verify(HOLDER.proof(URL, "GET", TOKEN, without=name))


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: proof[:-2],
        lambda proof: proof + "=",
        lambda proof: proof + ".",
        lambda proof: proof.rpartition(".")[0],
        lambda proof: proof.rpartition(".")[0] + ".",
        lambda proof: f"{proof},{proof}",
        lambda proof: proof.replace(".", "\u00e9.", 1),
        lambda proof: "",
    ],
)
def test_a_proof_whose_form_is_wrong(change: Callable[[str], str]) -> None:
    """A proof is three segments of canonical base64url, and its signature is of them."""
    with pytest.raises(InvalidProof):
        verify(change(HOLDER.proof(URL, "GET", TOKEN)))


def test_a_proof_of_4_kilobytes_and_a_longer_one() -> None:
    """4 KB pass and a byte more does not, nor 20 KB."""
    filled = next(
        proof
        for size in range(2400, 2800)
        if len(proof := HOLDER.proof(URL, "GET", TOKEN, claims={"x": "x" * size})) > 4093
    )
    assert len(filled) <= 4096
    verify(filled)
    for size in (3000, 15_000):
        with pytest.raises(InvalidProof, match="4096"):
            verify(HOLDER.proof(URL, "GET", TOKEN, claims={"x": "x" * size}))


@pytest.mark.parametrize("headers", [[], [b"a.b.c", b"a.b.c"]])
def test_no_header_and_two(headers: list[bytes]) -> None:
    """RFC 9449 section 4.3: there is not more than one header, and not less."""
    for shown in (Proof(headers, "GET", URL), None):
        with pytest.raises(InvalidProof):
            Proofs(CLOCK).verify(shown)


def test_a_proof_of_another_key() -> None:
    """A thief's own proof is refused, and so is the holder's that he signed."""
    thief = Holder(CLOCK)
    for proof in (thief.proof(URL, "GET", TOKEN), thief.proof(URL, "GET", TOKEN, header={"jwk": HOLDER.jwk})):
        with pytest.raises(InvalidProof):
            verify(proof)


@pytest.mark.parametrize("at", [NOW - 60, NOW + 60, NOW - 59.75, NOW + 0.5])
@pytest.mark.parametrize("typ", ["dpop+jwt", "DPoP+JWT", "application/dpop+jwt"])
def test_a_proof_within_a_minute(at: float, typ: str) -> None:
    """`iat` may be a minute off in both directions, and have a fraction."""
    verify(HOLDER.proof(URL, "GET", TOKEN, claims={"iat": at}, header={"typ": typ}))


SAME = [
    URL,
    "HTTPS://API.Example/orders/%C3%A9~x",
    "https://api.example:443/orders/%C3%A9~x",
    "https://api.example:/orders/%C3%A9~x",
    "https://api.example/orders/%c3%a9%7Ex",
    "https://api.example/orders/\u00e9~x",
    "https://api.example/./orders/a/../%C3%A9~x",
    "https://api.example/../%6Frders/%2E/%C3%A9~x",
    f"{URL}?page=2",
    f"{URL}#top",
    f"{URL}?page=2#top",
]
OTHER = tables_of(__file__)["other"]


@pytest.mark.parametrize("url", ["ws://a.example/", "wss://a.example/"])
def test_the_default_port_of_a_socket(url: str) -> None:
    """The default ports of `ws` and `wss` are those of HTTP (RFC 6455 section 3)."""
    port = {"ws": 80, "wss": 443}[url.partition(":")[0]]
    assert normalized(f"{url.removesuffix('/')}:{port}/") == url
    assert normalized(f"{url.removesuffix('/')}:8443/") != url


@pytest.mark.parametrize("url", SAME)
def test_a_url_that_is_the_same(url: str) -> None:
    """RFC 3986 sections 6.2.2 and 6.2.3: case, default port, dot segments and escapes make no difference to `htu`.

    Query and fragment are ignored.
    """
    verify(HOLDER.proof(url, "GET", TOKEN))
    verify(HOLDER.proof(URL, "GET", TOKEN), url=url)


@pytest.mark.parametrize("url", OTHER)
def test_a_url_that_is_another(url: str) -> None:
    """A proof for another scheme, host, port, path or prefix is refused."""
    with pytest.raises(InvalidProof, match="htu"):
        verify(HOLDER.proof(url, "GET", TOKEN))


def test_a_root_and_no_path() -> None:
    """An empty path is `/`."""
    verify(HOLDER.proof("https://api.example", "GET", TOKEN), url="https://api.example/")


def holders() -> list[Holder]:
    ed: Callable[[bytes], bytes] = ed25519_key().sign
    return [
        HOLDER,
        Holder(CLOCK, ecdsa(p384_key()), jwk_of(p384_key()), "ES384"),
        Holder(CLOCK, ecdsa(p521_key()), jwk_of(p521_key()), "ES512"),
        *(Holder(CLOCK, ed, jwk_of(ed25519_key()), alg) for alg in ("EdDSA", "Ed25519")),
        *(rsa_holder(rsa_key(), alg) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    ]


@pytest.mark.parametrize("holder", holders(), ids=lambda holder: holder.alg)
def test_every_algorithm(holder: Holder) -> None:
    """Each asymmetric algorithm proves its key, and a changed byte of the signature does not."""
    proof = holder.proof(URL, "GET", TOKEN)
    verify(proof, holder)
    message, _, signature = proof.rpartition(".")
    broken = bytearray(base64.urlsafe_b64decode(signature + "=="))
    broken[10] ^= 1
    with pytest.raises(InvalidProof):
        verify(f"{message}.{segment(bytes(broken))}", holder)


def weak_rsa(bits: int, exponent: int = 65537) -> Holder:
    return rsa_holder(rsa.generate_private_key(exponent, bits))


@pytest.mark.parametrize(
    "make",
    [
        lambda: weak_rsa(1024),
        lambda: weak_rsa(4104),
        lambda: weak_rsa(2048, 3),
        lambda: Holder(CLOCK, lambda _: bytes(64), {"kty": "OKP", "crv": "Ed25519", "x": SMALL_ORDER}, "EdDSA"),
        lambda: Holder(CLOCK, hs256(b"x" * 32), {"kty": "oct", "k": segment(b"x" * 32)}, "HS256"),
    ],
)
def test_a_key_that_is_weak_or_slow(make: Callable[[], Holder]) -> None:
    """RSA keys have 2048 to 4096 bits and the exponent 65537, and no key is one that anybody can sign for."""
    holder = make()
    with pytest.raises(InvalidProof):
        verify(holder.proof(URL, "GET", TOKEN), holder)


def test_another_spelling_of_a_modulus() -> None:
    """A key has one thumbprint: zeros before a modulus are refused."""
    holder = rsa_holder(rsa_key())
    modulus = base64.urlsafe_b64decode(holder.jwk["n"] + "==")
    holder.jwk = {**holder.jwk, "n": segment(b"\0" + modulus)}
    with pytest.raises(InvalidProof):
        verify(holder.proof(URL, "GET", TOKEN), holder)


@pytest.mark.parametrize("spelled", ["{}=", "\ud800"])
def test_another_spelling_of_a_point(spelled: str) -> None:
    """At a login, where any key may come, a member that is no canonical base64url is refused."""
    proof = HOLDER.proof(URL, "GET", TOKEN, header={"jwk": {**HOLDER.jwk, "x": spelled.format(HOLDER.jwk["x"])}})
    with pytest.raises(InvalidProof, match="canonical"):
        Proofs(CLOCK).verify(Proof([proof.encode()], "GET", URL))
