"""Secrets, PEM and JWK in; signatures and public JWKs out."""

import base64
import hmac
import json
import random
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.rfc_examples import EXAMPLES
from support.tokens import (
    SECRET,
    ec_key,
    ed25519_key,
    jwks,
    p384_key,
    p521_key,
    private_pem,
    public_pem,
    rsa_key,
    self_signed,
)

from asgi_jwt.errors import ConfigurationError, UnknownKey, UnsuitableKey
from asgi_jwt.tokens.algorithms import (
    ALGORITHMS,
    SYMMETRIC,
    UnsupportedKey,
    der_of,
    jwk_of,
    same_algorithms,
    thumbprint,
)
from asgi_jwt.tokens.compact import encode_base64url
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk
from asgi_jwt.tokens.keys import KeySet

MESSAGE = b"what is signed"
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
OCT, P256 = EXAMPLES["RFC 7515 A.1"].jwk, EXAMPLES["RFC 7515 A.3"].jwk

KEYS: dict[str, Any] = {
    "RSA": (rsa_key, RSAAlgorithm, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    "P-256": (ec_key, ECAlgorithm, ("ES256",)),
    "P-384": (p384_key, ECAlgorithm, ("ES384",)),
    "P-521": (p521_key, ECAlgorithm, ("ES512",)),
    "Ed25519": (ed25519_key, OKPAlgorithm, ("EdDSA", "Ed25519")),
}


@pytest.fixture(params=KEYS, name="family")
def family_(request: pytest.FixtureRequest) -> Any:
    """A private key of `cryptography`, PyJWT's writer of its JWK, and the algorithms it is good for."""
    make, writer, algorithms = KEYS[request.param]
    return make(), writer, algorithms


@pytest.mark.parametrize("name", ["RFC 8037 A.4", "RFC 7638 3.1"])
def test_thumbprints_of_the_rfcs(name: str) -> None:
    """RFC 7638's and RFC 8037's thumbprints come out, and are the `kid` of a JWK without one."""
    example = EXAMPLES[name]
    assert thumbprint({**example.jwk, "kid": "2011-04-29", "alg": "RS256"}) == example.thumbprint
    key = Key.from_jwk(example.jwk)
    assert (key.kid, key.declared) == (example.thumbprint, False)


def test_one_key_in_every_form(family: Any) -> None:
    """A key read as PEM or JWK, private or public, has one thumbprint, one list of algorithms, one public JWK."""
    private, writer, algorithms = family
    keys = [
        Key.from_pem(private_pem(private)),
        Key.from_pem(public_pem(private).decode()),
        Key.from_jwk(writer.to_jwk(private, as_dict=True) | {"key_ops": ["sign", "verify"]}),
        Key.from_jwk(writer.to_jwk(private.public_key(), as_dict=True)),
    ]
    assert [key.signs for key in keys] == [True, False, True, False]
    assert {(key.kid, key.algorithms, key.default, key.declared, key.verifies) for key in keys} == {
        (keys[0].kid, algorithms, algorithms[0], False, True)
    }
    for key in keys:
        assert key.public_jwk() == keys[0].public_jwk()


def test_each_form_of_the_key_verifies_what_the_private_one_signs(family: Any) -> None:
    """What a private key signs, its public half and the private key itself verify, and nothing else."""
    private, _, algorithms = family
    key, public = Key.from_pem(private_pem(private)), Key.from_pem(public_pem(private))
    for algorithm in algorithms:
        signature = key.sign(algorithm, MESSAGE)
        for verifying in (key, public):
            assert verifying.verify(algorithm, MESSAGE, signature)
            assert not verifying.verify(algorithm, MESSAGE + b"x", signature)
            assert not verifying.verify(algorithm, MESSAGE, signature[:-1])
            assert not verifying.verify(algorithm, MESSAGE, b"")
            assert not verifying.verify(algorithm, MESSAGE, bytes(len(signature)))


@pytest.mark.parametrize("length", [64, 65, 127, 128, 129, 1000])
@pytest.mark.parametrize("algorithm", sorted(SYMMETRIC))
def test_a_secret_signs_and_verifies(length: int, algorithm: str) -> None:
    """A signature is the HMAC of RFC 2104, for secrets at and past the length of the hash's block, and no other is."""
    secret = (bytes(range(256)) * 4)[:length]
    key, signature = Key.from_secret(secret), hmac.digest(secret, MESSAGE, f"sha{algorithm[2:]}")
    assert key.sign(algorithm, MESSAGE) == signature
    assert key.verify(algorithm, MESSAGE, signature)
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(len(signature))):
        assert not key.verify(algorithm, MESSAGE, wrong)


@pytest.mark.parametrize(("length", "hashes"), [(32, 1), (47, 1), (48, 2), (63, 2), (64, 3)])
def test_a_secret_is_at_least_as_long_as_its_hash(length: int, hashes: int) -> None:
    """A secret is good for the hashes it is long enough for (RFC 7518 section 3.2)."""
    key = Key.from_secret(b"x" * length)
    assert (key.algorithms, key.kid) == (("HS256", "HS384", "HS512")[:hashes], None)


SHORT, BLANK = ("short", "x" * 31, b"\xff" * 31, "é" * 15, "hunter2"), ("", b"", " " * 64, b"\n" * 64)


@pytest.mark.parametrize("secret", [*SHORT, *BLANK])
def test_secrets_that_are_refused(secret: str | bytes) -> None:
    """A secret under 32 bytes, an empty one and a blank one are refused, and the fault does not show them."""
    with pytest.raises(ConfigurationError, match="HS256 needs 32" if secret in SHORT else "no HMAC secret") as fault:
        KeySet.from_secret(secret)
    assert secret in BLANK or str(secret) not in str(fault.value)


def der(key: Any, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, form))


def ssh(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))


PUBLISHED: dict[str, bytes] = {
    "PEM of RSA": public_pem(rsa_key()),
    "PEM of P-256": public_pem(ec_key()),
    "PEM of Ed25519": public_pem(ed25519_key()),
    "PEM, PKCS#1": rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    "PEM, private": private_pem(ec_key()),
    "PEM, a certificate": self_signed(ec_key()).public_bytes(Encoding.PEM),
    "PEM, its last line lost": public_pem(ec_key()).rpartition(b"-----END")[0],
    "PEM without its lines": b"".join(public_pem(rsa_key()).splitlines()[1:-1]),
    "PEM, its line breaks escaped": public_pem(ec_key()).replace(b"\n", b"\\n"),
    "PEM under another label": public_pem(ec_key()).replace(b"PUBLIC KEY", b"KEY"),
    "DER of RSA": der(rsa_key()),
    "DER of P-521": der(p521_key()),
    "DER of Ed25519": der(ed25519_key()),
    "DER, PKCS#1": der(rsa_key(), PublicFormat.PKCS1),
    "DER, a certificate": self_signed(ec_key()).public_bytes(Encoding.DER),
    "JWK": json.dumps(jwks()["keys"][0]).encode(),
    "JWK, pretty": json.dumps(jwks()["keys"][1], indent=2).encode(),
    "JWK, as Python shows it": str(jwks()["keys"][1]).encode(),
    "JWK, in a text": json.dumps(json.dumps(jwks()["keys"][1])).encode(),
    "JWK Set": json.dumps(jwks()).encode(),
    "ssh of RSA": ssh(rsa_key()),
    "ssh of P-256": ssh(ec_key()),
    "ssh of Ed25519, with its comment": ssh(ed25519_key()) + b" alice@host",
    "ssh, a line of known_hosts": b"git.example " + ssh(ed25519_key()),
    "ssh, the blob alone": ssh(ed25519_key()).split()[1],
    "a URL": b"https://issuer.example/.well-known/jwks.json",
}
SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "hex": lambda content: content.hex().encode(),
    "HEX": lambda content: content.hex().upper().encode(),
    "hex with colons": lambda content: content.hex(":").encode(),
    "0x": lambda content: b"0x" + content.hex().encode(),
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "base64url": base64.urlsafe_b64encode,
    "base64url without padding": encode_base64url,
    "base64 twice": lambda content: base64.b64encode(base64.b64encode(content)),
    "hex of base64": lambda content: base64.b64encode(content).hex().encode(),
    "hex with a name": lambda content: b"hex:" + content.hex().encode(),
    "hex, escaped": lambda content: b"".join(b"\\x%02x" % each for each in content),
    "hex, a list": lambda content: b", ".join(b"0x%02x" % each for each in content),
    "base32": base64.b32encode,
    "base64 with a name": lambda content: b"base64:" + base64.b64encode(content),
    "a data URL": lambda content: b"data:application/x-pem-file;base64," + base64.b64encode(content),
    "percent-encoded": lambda content: quote(content).encode(),
    "base64, percent-encoded": lambda content: quote(base64.b64encode(content), safe="").encode(),
    "UTF-16": lambda content: base64.b64encode(content).decode().encode("utf-16"),
    "UTF-16 without its mark": lambda content: content.hex().encode("utf-16-be"),
    "base64 of UTF-16": lambda content: base64.b64encode(base64.b64encode(content).decode().encode("utf-16-le")),
    "double quotes": lambda content: b'"' + content + b'"',
    "single quotes around base64": lambda content: b"'" + base64.b64encode(content) + b"'",
    "behind a line break": lambda content: b"\n" + content,
    "behind blanks": lambda content: b" \t\r\n " + content + b" \n",
    "behind a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "blanks, quotes, base64": lambda content: b' \n"' + encode_base64url(b"\n" + content) + b'"\n',
}


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED)
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_no_public_key_is_taken_for_a_secret(published: bytes, spell: Callable[[bytes], bytes]) -> None:
    """Public key material in any encoding is no HMAC secret, within an oct JWK neither: everyone could sign with it."""
    with pytest.raises(ValueError, match="no HMAC secret"):
        Key.from_secret(spell(published))
    # The text of a PEM in `k` is read as some bytes by a lenient decoder.
    for k in (encode_base64url(spell(published)).decode(), public_pem(ec_key()).decode()):
        with pytest.raises(ValueError, match="no HMAC secret"):
            Key.from_jwk({"kty": "oct", "k": k})


@given(st.integers(32, 80), st.randoms(use_true_random=True))
def test_a_random_secret_is_a_secret(length: int, source: random.Random) -> None:
    """What is generated as a secret is taken, as it is and in hex, base64 and base64url."""
    content = source.randbytes(length)
    for secret in (content, content.hex(), base64.b64encode(content), base64.urlsafe_b64encode(content)):
        assert Key.from_secret(secret).algorithms


ORDER_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
SMALL_ORDER = [
    *("00" * 32, "00" * 31 + "80"),
    *("01" + "00" * 31, "01" + "00" * 30 + "80"),
    *("ec" + "ff" * 30 + "7f", "ec" + "ff" * 31),
    *("ed" + "ff" * 30 + "7f", "ed" + "ff" * 31),
    *("ee" + "ff" * 30 + "7f", "ee" + "ff" * 31),
    *(ORDER_8, ORDER_8[:-2] + "85"),
    *("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",),
    *("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",),
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_ed25519_keys_of_small_order_are_refused(point: str) -> None:
    """Anyone can sign for a public point whose order divides 8, in whatever spelling."""
    key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(point))
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(bytes.fromhex(point)).decode()}
    for text in (pem, json.dumps(jwk), json.dumps({"keys": [jwk, *jwks()["keys"]]})):
        with pytest.raises(ConfigurationError, match="small order"):
            KeySet.parse(text)


def test_pem_in_the_older_forms() -> None:
    """PKCS#1 and SEC 1 private keys are read like PKCS#8 ones."""
    for private in (rsa_key(), ec_key()):
        key = Key.from_pem(private_pem(private, PrivateFormat.TraditionalOpenSSL))
        assert key.signs
        assert key.kid == Key.from_pem(public_pem(private)).kid


def test_pem_that_can_be_no_key_is_refused() -> None:
    """An encrypted private key, a broken PEM and what is none are refused without showing what was in them."""
    encrypted = ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    for pem in (encrypted, private_pem(ec_key())[:90], b"-----BEGIN PUBLIC KEY-----\nrubbish\n", "\udcff"):
        with pytest.raises(ValueError, match=r"neither an unencrypted|UTF-8"):
            Key.from_pem(pem)


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
        dsa.generate_private_key(2048),
    ],
    ids=["secp256k1", "Ed448", "X25519", "DSA"],
)
def test_keys_of_other_kinds_are_told_apart_from_broken_ones(private: Any) -> None:
    """A whole key of a curve or kind that is not used here is an `UnsupportedKey`."""
    with pytest.raises(UnsupportedKey):
        Key.from_pem(public_pem(private))
    with pytest.raises(ConfigurationError, match="none of RSA"):
        KeySet.parse(private_pem(private))


def rsa_jwk(bits: int, e: int = 65537, **members: str) -> dict[str, Any]:
    """A public RSA key, of which nobody knows the private half."""
    modulus = secrets.randbits(bits) | 1 << bits - 1 | 1
    numbers = rsa.RSAPublicNumbers(3, modulus).public_key()
    exponent = encode_base64url(e.to_bytes((e.bit_length() + 7) // 8 or 1, "big")).decode()
    return {**RSAAlgorithm.to_jwk(numbers, as_dict=True), "e": exponent, "key_ops": ["verify"], **members}


RSA_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "1024 bits, PEM": (partial(rsa.generate_private_key, 65537, 1024), "2048 are the least"),
    **{f"{bits} bits": (partial(rsa_jwk, bits), "2048 are the least") for bits in (1024, 2047)},
    **{f"{bits} bits": (partial(rsa_jwk, bits), "8192") for bits in (8193, 8200, 16384)},
    **{f"e {e}": (partial(rsa_jwk, 2048, e), "(its|has) ") for e in (0, 1, 2, 65536, 2**31 + 1, 2**256 + 1)},
    "e of 2048 bits": (partial(rsa_jwk, 2048, 2**2047 + 1), "(its|has) "),
    # Its primes would be looked for, for minutes.
    "a private exponent without primes": (partial(rsa_jwk, 2**17, d="A" * 2**14), "RSA key of more than 8192 bits"),
}


@pytest.mark.parametrize(("make", "why"), RSA_REFUSED.values(), ids=RSA_REFUSED)
def test_rsa_keys_that_are_refused(make: Callable[[], Any], why: str) -> None:
    """RSA has 2048 bits (RFC 7518 section 3.3) to 8192, lest each signature take milliseconds, and an odd exponent.

    An exponent of 1 lets anyone sign, an even one nobody, and a long one makes each signature take milliseconds.
    """
    key = make()
    with pytest.raises(ConfigurationError, match=why):
        KeySet.parse(json.dumps(key) if isinstance(key, dict) else private_pem(key))


@pytest.mark.parametrize(("bits", "e"), [(2048, 3), (2048, 65537), (2048, 2**31 - 1), (8192, 65537)])
def test_rsa_keys_that_are_taken(bits: int, e: int) -> None:
    """The least and the longest RSA key, and the exponents that are in use."""
    assert Key.from_jwk(rsa_jwk(bits, e)).algorithms


@pytest.mark.parametrize("bits", [2048, pytest.param(4096, marks=pytest.mark.outside)])
def test_reading_an_rsa_key_stops_no_thread(bits: int) -> None:
    """Key files are read again while requests are served: the check of a private RSA key that OpenSSL has stops all."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    for text in (private_pem(private), json.dumps(jwk_of(private))):
        began = time.thread_time()
        KeySet.parse(text)
        read = time.thread_time()
        load_pem_private_key(private_pem(private), None)
        assert read - began < (time.thread_time() - read) / 4


def test_rsa_halves_that_do_not_belong_together() -> None:
    """A private RSA key that would sign what its public half refuses is no key, as PEM and as JWK."""
    own = rsa_key().private_numbers()
    other = rsa.RSAPublicNumbers(3, own.public_numbers.n)
    numbers = rsa.RSAPrivateNumbers(own.p, own.q, own.d, own.dmp1, own.dmq1, own.iqmp, other)
    mixed = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    for text in (private_pem(mixed), json.dumps(RSAAlgorithm.to_jwk(mixed, as_dict=True))):
        with pytest.raises(ConfigurationError, match="don't belong together"):
            KeySet.parse(text)


def test_a_private_rsa_jwk_may_lack_its_primes() -> None:
    """A private RSA JWK of `n`, `e` and `d` alone signs (RFC 7518 section 6.3.2)."""
    whole = RSAAlgorithm.to_jwk(rsa_key(), as_dict=True)
    key = Key.from_jwk({name: whole[name] for name in ("kty", "n", "e", "d")})
    assert Key.from_pem(public_pem(rsa_key())).verify("RS256", MESSAGE, key.sign("RS256", MESSAGE))


USES: list[tuple[dict[str, Any], tuple[bool, bool]]] = [
    *((members, (True, True)) for members in ({}, {"use": "sig"}, {"key_ops": ["sign", "verify"]})),
    *(({"key_ops": operations}, (True, False)) for operations in (["verify"], ("verify",))),
    *(({"key_ops": operations}, (False, False)) for operations in (["sign"], [], ["encrypt"])),
    *(({"use": "enc", **members}, (False, False)) for members in ({}, {"key_ops": ["sign", "verify"]})),
]


@pytest.mark.parametrize(("changes", "may"), USES)
def test_use_and_key_ops_decide_what_a_jwk_is_for(changes: dict[str, Any], may: tuple[bool, bool]) -> None:
    """A JWK verifies and signs only where its `use` and `key_ops` say so (RFC 7517 sections 4.2 and 4.3)."""
    for jwk in (OCT, ECAlgorithm.to_jwk(ec_key(), as_dict=True)):
        plain = {name: value for name, value in jwk.items() if name != "key_ops"}
        key = Key.from_jwk(plain | changes)
        assert (key.verifies, key.signs) == may


@pytest.mark.parametrize(
    ("example", "alg", "algorithms"),
    [
        ("RFC 7515 A.2", "RS256", ("RS256",)),
        ("RFC 7515 A.2", "PS512", ("PS512",)),
        ("RFC 8037 A.4", "EdDSA", ("EdDSA", "Ed25519")),
        ("RFC 8037 A.4", "Ed25519", ("EdDSA", "Ed25519")),
    ],
)
def test_alg_narrows_what_a_jwk_is_made_for(example: str, alg: str, algorithms: tuple[str, ...]) -> None:
    """A JWK with `alg` is good for that one (RFC 7517 section 4.4); `EdDSA` and RFC 9864's `Ed25519` are one."""
    key = Key.from_jwk({**EXAMPLES[example].jwk, "alg": alg})
    assert (key.algorithms, (key.public_jwk() or {})["alg"]) == (algorithms, alg)
    assert same_algorithms([alg, "RS384", alg]) == (*algorithms, "RS384")


OTHER_KINDS: list[dict[str, Any]] = [
    *({}, {"kty": "AKP"}, {"kty": "rsa"}, {"kty": "OKP", "crv": 25519, "x": "AA"}),
    *({**OCT, "alg": "RS256"}, {**OCT, "alg": "A128GCM"}, {**P256, "alg": "ES384"}, {**P256, "alg": "none"}),
]
BROKEN: list[dict[str, Any]] = [
    *({"kty": "oct"}, {"kty": "oct", "k": "c2hvcnQ", "alg": "HS256"}, {**OCT, "kty": ["oct"]}, {**OCT, "kid": 1}),
    *({**OCT, "use": ["sig"]}, {**OCT, "alg": 256}, {**OCT, "key_ops": "verify"}, {**OCT, "key_ops": {"verify": True}}),
    *({"kty": "RSA", "e": "AQAB"}, {"kty": "RSA", "n": 5, "e": "AQAB"}, {"kty": "RSA", "n": "é", "e": "AQAB"}),
    *({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {**P256, "crv": "P-521"}, {**P256, "x": P256["y"]}),
    {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
    *({**OCT, name: time} for name in ("nbf", "exp") for time in ("1", True, -1, 2**53, [1], float("nan"), inf)),
]


@pytest.mark.parametrize("jwk", [*OTHER_KINDS, *BROKEN])
def test_jwks_that_can_be_no_key(jwk: dict[str, Any]) -> None:
    """A broken JWK is a `ValueError`, one of a kind not used here its child `UnsupportedKey`.

    Its `nbf` and `exp` are seconds since the epoch.
    """
    times = [name for name in ("nbf", "exp") if name in jwk]
    with pytest.raises(ValueError, match=f"its {times[0]} is no number" if times else r"^(its|has) ") as fault:
        Key.from_jwk(jwk)
    assert isinstance(fault.value, UnsupportedKey) is (jwk in OTHER_KINDS)


def test_no_private_member_is_ever_published() -> None:
    """The public JWK Set holds public members alone, whatever was read, and no secret."""
    private = [make() for make, _, _ in KEYS.values()]
    text = b"".join(private_pem(key) for key in private)
    published = KeySet.parse(text).public_jwks()["keys"]
    assert len(published) == len(private)
    for jwk in published:
        assert not PRIVATE_MEMBERS & jwk.keys()
        assert jwk["use"] == "sig"
        assert jwk["kid"] == thumbprint(jwk)
        assert Key.from_jwk(jwk).kid == jwk["kid"]
    assert KeySet.from_secret(SECRET).public_jwks() == {"keys": []}
    assert KeySet.parse(json.dumps({"keys": [OCT]})).public_jwks() == {"keys": []}


def test_keys_barred_from_verifying_are_not_published() -> None:
    """An encryption key in the set is left out of what is published for verifying."""
    published = KeySet.parse(json.dumps(jwks())).public_jwks()["keys"]
    assert [jwk["kid"] for jwk in published] == ["rsa", "p256", "p384", "ed25519"]


def test_nothing_of_a_key_shows_in_its_repr() -> None:
    """A key's repr has its `kid` and algorithms alone."""
    assert repr(Key.from_secret(SECRET)) == "Key(kid=None, algorithms=('HS256', 'HS384', 'HS512'))"
    assert SECRET not in repr(KeySet.from_secret(SECRET))
    assert "RSA" not in repr(Key.from_pem(private_pem(rsa_key())))


def test_a_key_set_is_read_from_any_form() -> None:
    """A JWK Set, a JWK, and PEM blocks with their EC parameters and comments all give their keys in order."""
    jwk = jwks()["keys"][1]
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    pem = b"# signs\n" + parameters + private_pem(ec_key(), PrivateFormat.TraditionalOpenSSL) + public_pem(rsa_key())
    assert [key.kid for key in KeySet.parse(json.dumps({"keys": [jwk]}))] == ["p256"]
    assert [key.kid for key in KeySet.parse(b" \n" + json.dumps(jwk).encode())] == ["p256"]
    keys = KeySet.parse(pem)
    assert [key.default for key in keys] == ["ES256", "RS256"]
    assert keys.signing_key() is next(iter(keys))
    assert keys.algorithms == ("ES256", "RS256")


def test_the_first_private_key_signs() -> None:
    """Public keys before it are passed over, and without a private key there is none."""
    keys = KeySet.parse(public_pem(rsa_key()) + private_pem(ec_key()) + private_pem(p384_key()))
    assert keys.signing_key() is tuple(keys)[1]
    assert KeySet.parse(public_pem(rsa_key())).signing_key() is None


def test_keys_that_are_not_used_here_are_passed_over() -> None:
    """A JWK Set may hold keys of other kinds beside those that verify, and each is accounted for."""
    others = [{"kty": "AKP", "alg": "ML-DSA-44"}, {**EXAMPLES["RFC 7515 A.2"].jwk, "alg": "RSA-OAEP", "use": "enc"}]
    keys, faults = KeySet.from_jwks({"keys": [*others, jwks()["keys"][1]]})
    assert [key.kid for key in keys] == ["p256"]
    assert [type(fault) for fault in faults] == [UnsupportedKey, UnsupportedKey]
    assert [str(fault)[:5] for fault in faults] == ["key 1", "key 2"]
    assert len(KeySet.parse(json.dumps({"keys": [*others, jwks()["keys"][1]]}))) == 1


def set_of(*more: object) -> str:
    return json.dumps({"keys": [jwks()["keys"][1], *more]})


NO_KEYS = "holds neither a JWK, a JWK Set nor PEM; a path to one goes into ASGI_JWT_KEYS_FILE"
NONE_VERIFIES = "holds no key that may verify signatures"
UNUSABLE: list[tuple[str, list[str]]] = [
    ("", [NO_KEYS]),
    ("secret", [NO_KEYS]),
    ("-----BEGIN PUBLIC KEY-----\nAAAA", ["holds a PEM block without its last line: the file is cut off"]),
    ("\udcff", ["is no UTF-8 text"]),
    ("{", ["is broken JSON"]),
    ('{"keys": [], "keys": []}', ["is broken JSON"]),
    ('{"keys": {}}', ["is no JWK Set: its member `keys` is no array"]),
    ('{"keys": []}', [NONE_VERIFIES]),
    (json.dumps({**jwks()["keys"][1], "use": "enc"}), [NONE_VERIFIES]),
    ('{"keys": [1]}', ["key 1 of the JWK Set can't be used: is no object"]),
    (
        '{"keys": [{"kty": "AKP"}]}',
        ["key 1 of the JWK Set can't be used: its kty is none of RSA, EC, OKP and oct", NONE_VERIFIES],
    ),
    *(
        (
            set_of({"kty": "RSA", "kid": kid}),
            [f"key 2 of the JWK Set ({kid[:64]!r}) can't be used: its members are missing or broken"],
        )
        for kid in ("a\n", "x" * 1000)
    ),
]


@pytest.mark.parametrize(("text", "faults"), UNUSABLE)
def test_key_sets_that_cant_be_used(text: str, faults: list[str]) -> None:
    """A set that is broken, or in which no key may verify, is refused whole, with all that is wrong.

    A broken key is named by its place and its `kid`, which is cut short and breaks no line: a key of one's own that
    is silently missing would refuse users.
    """
    with pytest.raises(ConfigurationError) as refused:
        KeySet.parse(text)
    assert list(refused.value.faults) == faults


def key(kid: str | None, alg: str = "RS256", **changes: Any) -> Key:
    jwk = {**EXAMPLES["RFC 7515 A.2"].jwk, "alg": alg, **changes}
    return Key.from_jwk(jwk if kid is None else {**jwk, "kid": kid})


def test_a_token_with_kid_may_use_that_key_and_those_without() -> None:
    """Candidates are the keys of that `kid`, then those that declare none, if they fit the algorithm."""
    named, other, nameless, pss = key("a"), key("b"), key(None), key("a", "PS256")
    keys = KeySet([nameless, other, named, pss])
    assert keys.candidates("a", "RS256") == (named, nameless)
    assert keys.candidates("a", "PS256") == (pss,)
    assert keys.candidates("unknown", "RS256") == (nameless,)
    assert keys.candidates(None, "RS256") == (nameless, other, named)
    assert keys.candidates(nameless.kid, "RS256") == (nameless,)


def test_unknown_and_unsuitable_keys_are_told_apart() -> None:
    """No key of that `kid` is one refusal, a key of it that does not fit or may not verify another."""
    keys = KeySet([key("a"), key("enc", use="enc")])
    with pytest.raises(UnknownKey):
        keys.candidates("b", "RS256")
    with pytest.raises(UnknownKey):
        KeySet([]).candidates(None, "RS256")
    for kid, algorithm in (("a", "ES256"), ("a", "RS384"), ("enc", "RS256"), (None, "ES256")):
        with pytest.raises(UnsuitableKey):
            keys.candidates(kid, algorithm)


def many(count: int, algorithms: Iterable[str] = ("HS256",), **changes: Any) -> list[dict[str, Any]]:
    """As many keys for each of the algorithms, without `kid` but for `changes`."""
    jwks = [generate_jwk(algorithm) for algorithm in algorithms for _ in range(count)]
    return [{name: value for name, value in jwk.items() if name != "kid"} | changes for jwk in jwks]


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("kid", [{}, {"kid": "a"}], ids=["no kid", "one kid"])
def test_more_keys_that_are_alike_than_a_token_is_tried_with(algorithm: str, kid: dict[str, str]) -> None:
    """A fifth key of one algorithm and one `kid`, or none, would be skipped in silence: it is refused."""
    assert len(KeySet.parse(json.dumps({"keys": many(4, [algorithm], **kid)}))) == 4
    for count in (5, 6):
        with pytest.raises(ConfigurationError, match="more than 4 keys of one algorithm"):
            KeySet.parse(json.dumps({"keys": many(count, [algorithm], **kid)}))


def test_more_pems_than_a_token_is_tried_with() -> None:
    """PEM has no `kid`: four blocks of each family are taken, and a fifth of one is refused."""
    pems = [private_pem(ec.generate_private_key(curve)) for curve in (ec.SECP256R1(), ec.SECP384R1()) for _ in range(4)]
    assert len(KeySet.parse(b"".join(pems))) == 8
    with pytest.raises(ConfigurationError, match="more than 4 keys of one algorithm"):
        KeySet.parse(b"".join([*pems, public_pem(ec.generate_private_key(ec.SECP256R1()))]))


def test_keys_that_are_told_apart_may_be_many() -> None:
    """Keys of other algorithms, each with a `kid` of its own, or barred from verifying cost a token no check."""
    told_apart = [generate_jwk("ES256") for _ in range(9)] + many(9, ["ES256"], use="enc")
    keys = KeySet.parse(json.dumps({"keys": [*many(4, ["ES256", "ES384", "EdDSA"]), *told_apart]}))
    assert (len(keys), keys.surplus()) == (30, ())


def test_a_key_without_a_name_is_tried_however_many_came_after_it() -> None:
    """A secret of a list that was rotated five times verifies its tokens, and a PEM those that name it or none."""
    secret = next(iter(KeySet.from_secret(SECRET)))
    later, _ = KeySet.from_jwks({"keys": [generate_jwk("HS256") for _ in range(5)]})
    assert KeySet([*later, secret]).candidates(None, "HS256")[0] is secret
    pems = KeySet([Key.from_pem(private_pem(ec.generate_private_key(ec.SECP256R1()))) for _ in range(6)])
    assert pems.candidates(tuple(pems)[5].kid, "ES256")[0] is tuple(pems)[5]
    rotated, _ = KeySet.from_jwks({"keys": [generate_jwk("ES256") for _ in range(5)]})
    assert KeySet([*rotated, next(iter(pems))]).candidates(None, "ES256")[0] is next(iter(pems))


@pytest.mark.parametrize(
    ("key", "algorithms", "left"),
    [
        (Key.from_pem(public_pem(rsa_key())), (), ("RS256",)),
        (Key.from_jwk(rsa_jwk(2048, alg="PS512")), (), ("PS512",)),
        (Key.from_pem(public_pem(rsa_key())), ("PS256", "ES256"), ("PS256",)),
        (Key.from_jwk(rsa_jwk(2048, alg="PS512")), ("RS256", "PS512"), ("PS512",)),
        (Key.from_pem(public_pem(rsa_key())), ("ES256",), ()),
        (Key.from_pem(public_pem(ed25519_key())), (), ("EdDSA", "Ed25519")),
        (Key.from_pem(public_pem(ed25519_key())), ("EdDSA", "Ed25519"), ("EdDSA", "Ed25519")),
    ],
)
def test_a_key_limited(key: Key, algorithms: tuple[str, ...], left: tuple[str, ...]) -> None:
    """A key can be limited to what is allowed, or, where nothing is said, to what it is made for: both of its names."""
    limited = key.limited_to(algorithms)
    assert (limited.algorithms, limited.kid) == (left, key.kid)


def test_what_makes_two_keys_the_same() -> None:
    """Material, name, use and times make a key what it is."""
    jwk = ECAlgorithm.to_jwk(ec_key().public_key(), as_dict=True)
    same = [Key.from_jwk(jwk) for _ in range(2)] + [Key.from_pem(public_pem(ec_key()))]
    others = [
        Key.from_jwk({**jwk, "kid": "a"}),
        Key.from_jwk({**jwk, "kid": "b"}),
        Key.from_jwk({**jwk, "use": "enc"}),
        Key.from_jwk({**jwk, "kid": same[0].kid}),
        Key.from_pem(public_pem(p384_key())),
        Key.from_pem(private_pem(ec_key())),
        Key.from_jwk({**jwk, "nbf": 1}),
        Key.from_jwk({**jwk, "exp": 1}),
        Key.from_secret(SECRET),
        Key.from_secret(f"{SECRET}!"),
    ]
    assert len({each.identity for each in same}) == 1
    assert Key.from_secret(SECRET).identity == Key.from_secret(SECRET).identity
    assert len({each.identity for each in (*same, *others)}) == 1 + len(others)


def test_keys_that_stay() -> None:
    """A set that takes the place of another keeps the objects of the keys that both have."""
    a, b, c = (Key.from_pem(public_pem(make())) for make in (ec_key, p384_key, rsa_key))
    anew = KeySet([Key.from_pem(public_pem(rsa_key())), Key.from_pem(public_pem(ec_key())), b])
    kept = anew.keeping(KeySet([a, c]))
    assert tuple(kept) == (c, a, b)
    assert tuple(anew.keeping(KeySet(()))) == tuple(anew)


def test_every_algorithm_has_a_key() -> None:
    """The algorithms that can be allowed are those that some key is good for."""
    good_for = {name for _, _, algorithms in KEYS.values() for name in algorithms} | SYMMETRIC
    assert set(ALGORITHMS) == good_for
    assert Key.from_pem(private_pem(ed25519.Ed25519PrivateKey.generate())).default == "EdDSA"


@pytest.mark.parametrize(
    ("jwk", "slow"),
    [
        *((generate_jwk(algorithm), algorithm in ("ES384", "ES512")) for algorithm in ALGORITHMS),
        *((rsa_jwk(bits), bits > 4096) for bits in (2048, 4096, 4104)),
    ],
)
def test_keys_that_are_slow_to_verify(jwk: dict[str, Any], slow: bool) -> None:
    """A check by a curve past P-256, or by RSA past 4096 bits, takes a good part of a millisecond."""
    assert Key.from_jwk(jwk).slow_to_verify is slow


@given(st.sampled_from((32, 48, 66)), st.data())
def test_the_der_of_a_signature(size: int, data: st.DataObject) -> None:
    """Two numbers of any size become the DER that cryptography makes of them."""
    r, s = (data.draw(st.integers(0, 2 ** (8 * size) - 1)) for _ in range(2))
    assert der_of(r.to_bytes(size), s.to_bytes(size)) == encode_dss_signature(r, s)
