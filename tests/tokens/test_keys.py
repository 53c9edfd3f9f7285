"""Secrets, PEM and JWK in; signatures and public JWKs out."""

import base64
import hmac
import json
import random
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
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
from support.rfc_examples import EXAMPLES, Example
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
from asgi_jwt.tokens.algorithms import ALGORITHMS, SYMMETRIC, UnsupportedKey, jwk_of, same_algorithms, thumbprint
from asgi_jwt.tokens.compact import decode_base64url, encode_base64url, split
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk
from asgi_jwt.tokens.keys import KeySet

MESSAGE = b"what is signed"
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
OCT = EXAMPLES["RFC 7515 A.1"].jwk

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


@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES.values() if example.token], ids=lambda example: example.algorithm
)
def test_signatures_of_the_rfcs_verify(example: Example) -> None:
    """The signatures in RFC 7515 A.1 to A.4 and RFC 8037 A.4 verify, and over any other message they don't."""
    key = Key.from_jwk(example.jwk)
    assert example.token is not None
    _, _, signature, signing_input = split(example.token.encode())
    assert key.verify(example.algorithm, signing_input, decode_base64url(signature))
    assert not key.verify(example.algorithm, signing_input + b"x", decode_base64url(signature))


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


@pytest.mark.parametrize("algorithm", sorted(SYMMETRIC))
def test_a_secret_signs_and_verifies(algorithm: str) -> None:
    """A secret of 64 bytes is good for every hash, and tells its signatures from others."""
    key = Key.from_secret(SECRET)
    signature = key.sign(algorithm, MESSAGE)
    assert len(signature) == int(algorithm[2:]) // 8
    assert key.verify(algorithm, MESSAGE, signature)
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(len(signature))):
        assert not key.verify(algorithm, MESSAGE, wrong)


@pytest.mark.parametrize("length", [64, 65, 127, 128, 129, 1000])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_hmac_of_any_length_of_secret(length: int, algorithm: str) -> None:
    """A signature is the HMAC of RFC 2104 for secrets below, at and past the length of the hash's block."""
    secret = bytes(range(256)) * 4
    expected = hmac.digest(secret[:length], MESSAGE, f"sha{algorithm[2:]}")
    assert Key.from_secret(secret[:length]).sign(algorithm, MESSAGE) == expected


@pytest.mark.parametrize(
    ("length", "algorithms"),
    [
        (32, ("HS256",)),
        (47, ("HS256",)),
        (48, ("HS256", "HS384")),
        (63, ("HS256", "HS384")),
        (64, ("HS256", "HS384", "HS512")),
    ],
)
def test_a_secret_is_at_least_as_long_as_its_hash(length: int, algorithms: tuple[str, ...]) -> None:
    """A secret is good for the hashes it is long enough for (RFC 7518 section 3.2)."""
    assert Key.from_secret(b"x" * length).algorithms == algorithms
    assert Key.from_secret(b"x" * length).kid is None


@pytest.mark.parametrize("secret", ["short", "x" * 31, b"\xff" * 31, "é" * 15])
def test_short_secrets_are_refused(secret: str | bytes) -> None:
    """A secret under 32 bytes is refused, and the fault tells its length, not its content."""
    with pytest.raises(ValueError, match="HS256 needs 32 at least") as fault:
        Key.from_secret(secret)
    assert str(secret) not in str(fault.value)


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
    secret = spell(published)
    refused: list[Callable[[], object]] = [
        lambda: Key.from_secret(secret),
        lambda: Key.from_jwk({"kty": "oct", "k": encode_base64url(secret).decode()}),
    ]
    for read in refused:
        with pytest.raises(ValueError, match="no HMAC secret"):
            read()


def test_no_public_key_is_the_k_of_a_jwk() -> None:
    """The text of a PEM in `k`, which a lenient decoder reads as some bytes, is no secret either."""
    with pytest.raises(ValueError, match="no HMAC secret"):
        Key.from_jwk({"kty": "oct", "k": public_pem(ec_key()).decode()})


@pytest.mark.parametrize("secret", ["", b"", " " * 64, b"\n" * 64])
def test_nothing_is_no_secret(secret: str | bytes) -> None:
    """A secret that is empty or blank is refused."""
    with pytest.raises(ValueError, match="no HMAC secret"):
        Key.from_secret(secret)


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
    [ec.generate_private_key(ec.SECP256K1()), ed448.Ed448PrivateKey.generate(), x25519.X25519PrivateKey.generate()],
    ids=["secp256k1", "Ed448", "X25519"],
)
def test_keys_of_other_kinds_are_told_apart_from_broken_ones(private: Any) -> None:
    """A whole key of a curve that is not used here is an `UnsupportedKey`."""
    with pytest.raises(UnsupportedKey):
        Key.from_pem(public_pem(private))
    with pytest.raises(ConfigurationError, match="none of RSA"):
        KeySet.parse(private_pem(private))


def test_dsa_is_no_key() -> None:
    """A DSA key, which no JWS algorithm uses, is an `UnsupportedKey`."""
    with pytest.raises(UnsupportedKey):
        Key.from_pem(public_pem(dsa.generate_private_key(2048)))


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_keys_are_refused(bits: int) -> None:
    """RSA below 2048 bits is refused, as PEM and as JWK (RFC 7518 section 3.3)."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    with pytest.raises(ValueError, match="2048 are the least"):
        Key.from_pem(private_pem(private))
    with pytest.raises(ConfigurationError, match="2048 are the least"):
        KeySet.parse(json.dumps(RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)))


def rsa_jwk(bits: int, e: int = 65537, **members: str) -> dict[str, Any]:
    """A public RSA key, of which nobody knows the private half."""
    modulus = secrets.randbits(bits) | 1 << bits - 1 | 1
    numbers = rsa.RSAPublicNumbers(3, modulus).public_key()
    exponent = encode_base64url(e.to_bytes((e.bit_length() + 7) // 8 or 1, "big")).decode()
    return {**RSAAlgorithm.to_jwk(numbers, as_dict=True), "e": exponent, "key_ops": ["verify"], **members}


@pytest.mark.parametrize("bits", [8193, 8200, 16384])
def test_long_rsa_keys_are_refused(bits: int) -> None:
    """RSA past 8192 bits is refused: each token that names the key would take milliseconds."""
    assert Key.from_jwk(rsa_jwk(8192)).algorithms
    with pytest.raises(ValueError, match="8192"):
        Key.from_jwk(rsa_jwk(bits))


@pytest.mark.parametrize("e", [0, 1, 2, 65536, 2**31 + 1, 2**256 + 1, 2**2047 + 1])
def test_odd_rsa_exponents_are_refused(e: int) -> None:
    """An exponent of 1 lets anyone sign, an even one nobody, and a long one makes each signature take milliseconds."""
    for good in (3, 65537, 2**31 - 1):
        assert Key.from_jwk(rsa_jwk(2048, good)).algorithms
    with pytest.raises(ValueError, match=r"^(its|has) "):
        Key.from_jwk(rsa_jwk(2048, e))


def test_the_primes_of_a_huge_key_are_not_looked_for() -> None:
    """A private exponent without primes would have them looked for, for minutes: not in a key that is too long."""
    with pytest.raises(ValueError, match="has an RSA key of more than 8192 bits"):
        Key.from_jwk(rsa_jwk(2**17, d="A" * 2**14))


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
    numbers = rsa_key().private_numbers()
    other = rsa.RSAPublicNumbers(3, numbers.public_numbers.n)
    mixed = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=numbers.d,
        dmp1=numbers.dmp1,
        dmq1=numbers.dmq1,
        iqmp=numbers.iqmp,
        public_numbers=other,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    for text in (private_pem(mixed), json.dumps(RSAAlgorithm.to_jwk(mixed, as_dict=True))):
        with pytest.raises(ConfigurationError, match="don't belong together"):
            KeySet.parse(text)


def test_a_private_rsa_jwk_may_lack_its_primes() -> None:
    """A private RSA JWK of `n`, `e` and `d` alone signs (RFC 7518 section 6.3.2)."""
    whole = RSAAlgorithm.to_jwk(rsa_key(), as_dict=True)
    key = Key.from_jwk({name: whole[name] for name in ("kty", "n", "e", "d")})
    assert Key.from_pem(public_pem(rsa_key())).verify("RS256", MESSAGE, key.sign("RS256", MESSAGE))


@pytest.mark.parametrize(
    ("changes", "verifies", "signs"),
    [
        ({}, True, True),
        ({"use": "sig"}, True, True),
        ({"key_ops": ["sign", "verify"]}, True, True),
        ({"key_ops": ["verify"]}, True, False),
        ({"key_ops": ("verify",)}, True, False),
        ({"key_ops": ["sign"]}, False, False),
        ({"key_ops": []}, False, False),
        ({"key_ops": ["encrypt"]}, False, False),
        ({"use": "enc"}, False, False),
        ({"use": "enc", "key_ops": ["sign", "verify"]}, False, False),
    ],
)
def test_use_and_key_ops_decide_what_a_jwk_is_for(changes: dict[str, Any], verifies: bool, signs: bool) -> None:
    """A JWK verifies and signs only where its `use` and `key_ops` say so (RFC 7517 sections 4.2 and 4.3)."""
    for jwk in (OCT, ECAlgorithm.to_jwk(ec_key(), as_dict=True)):
        plain = {name: value for name, value in jwk.items() if name != "key_ops"}
        key = Key.from_jwk(plain | changes)
        assert (key.verifies, key.signs) == (verifies, signs)


@pytest.mark.parametrize(
    ("alg", "algorithms"),
    [("RS256", ("RS256",)), ("PS512", ("PS512",))],
)
def test_alg_narrows_what_a_jwk_is_made_for(alg: str, algorithms: tuple[str, ...]) -> None:
    """A JWK with `alg` is good for that one algorithm (RFC 7517 section 4.4)."""
    key = Key.from_jwk({**EXAMPLES["RFC 7515 A.2"].jwk, "alg": alg})
    assert (key.algorithms, key.default) == (algorithms, alg)
    assert (key.public_jwk() or {})["alg"] == alg


def test_both_names_of_ed25519_mean_each_other() -> None:
    """`EdDSA` and RFC 9864's `Ed25519` name one signature, whichever the JWK says."""
    for alg in ("EdDSA", "Ed25519"):
        assert Key.from_jwk({**EXAMPLES["RFC 8037 A.4"].jwk, "alg": alg}).algorithms == ("EdDSA", "Ed25519")
        assert same_algorithms([alg, "RS256", alg]) == ("EdDSA", "Ed25519", "RS256")


@pytest.mark.parametrize(
    ("jwk", "unsupported"),
    [
        ({}, True),
        ({"kty": "AKP"}, True),
        ({"kty": "rsa"}, True),
        ({**OCT, "alg": "RS256"}, True),
        ({**OCT, "alg": "A128GCM"}, True),
        ({**EXAMPLES["RFC 7515 A.3"].jwk, "alg": "ES384"}, True),
        ({**EXAMPLES["RFC 7515 A.3"].jwk, "alg": "none"}, True),
        ({"kty": "oct", "k": "c2hvcnQ", "alg": "HS256"}, False),
        ({**OCT, "kty": ["oct"]}, False),
        ({**OCT, "kid": 1}, False),
        ({**OCT, "use": ["sig"]}, False),
        ({**OCT, "alg": 256}, False),
        ({**OCT, "key_ops": "verify"}, False),
        ({**OCT, "key_ops": {"verify": True}}, False),
        ({"kty": "oct"}, False),
        ({"kty": "RSA", "e": "AQAB"}, False),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, False),
        ({**EXAMPLES["RFC 7515 A.3"].jwk, "crv": "P-521"}, False),
        ({**EXAMPLES["RFC 7515 A.3"].jwk, "x": EXAMPLES["RFC 7515 A.3"].jwk["y"]}, False),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AA"}, False),
        ({"kty": "OKP", "crv": 25519, "x": "AA"}, True),
        ({"kty": "RSA", "n": 5, "e": "AQAB"}, False),
        ({"kty": "RSA", "n": "é", "e": "AQAB"}, False),
    ],
)
def test_jwks_that_can_be_no_key(jwk: dict[str, Any], unsupported: bool) -> None:
    """A broken JWK is a `ValueError`, one of a kind not used here its child `UnsupportedKey`."""
    with pytest.raises(ValueError, match=r"^(its|has) ") as fault:
        Key.from_jwk(jwk)
    assert isinstance(fault.value, UnsupportedKey) is unsupported


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
    assert [jwk["kid"] for jwk in KeySet.parse(json.dumps(jwks())).public_jwks()["keys"]] == [
        "rsa",
        "p256",
        "p384",
        "ed25519",
    ]


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
    assert [key.kid for key in KeySet.parse(json.dumps({"keys": [jwk]})).keys] == ["p256"]
    assert [key.kid for key in KeySet.parse(b" \n" + json.dumps(jwk).encode()).keys] == ["p256"]
    keys = KeySet.parse(pem)
    assert [key.default for key in keys.keys] == ["ES256", "RS256"]
    assert keys.signing_key() is keys.keys[0]
    assert keys.algorithms == ("ES256", "RS256")


def test_the_first_private_key_signs() -> None:
    """Public keys before it are passed over, and without a private key there is none."""
    keys = KeySet.parse(public_pem(rsa_key()) + private_pem(ec_key()) + private_pem(p384_key()))
    assert keys.signing_key() is keys.keys[1]
    assert KeySet.parse(public_pem(rsa_key())).signing_key() is None


def test_keys_that_are_not_used_here_are_passed_over() -> None:
    """A JWK Set may hold keys of other kinds beside those that verify, and each is accounted for."""
    others = [{"kty": "AKP", "alg": "ML-DSA-44"}, {**EXAMPLES["RFC 7515 A.2"].jwk, "alg": "RSA-OAEP", "use": "enc"}]
    keys, faults = KeySet.from_jwks({"keys": [*others, jwks()["keys"][1]]})
    assert [key.kid for key in keys.keys] == ["p256"]
    assert [type(fault) for fault in faults] == [UnsupportedKey, UnsupportedKey]
    assert [str(fault)[:5] for fault in faults] == ["key 1", "key 2"]
    assert len(KeySet.parse(json.dumps({"keys": [*others, jwks()["keys"][1]]})).keys) == 1


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["holds neither a JWK, a JWK Set nor PEM; a path to one goes into ASGI_JWT_KEYS_FILE"]),
        ("secret", ["holds neither a JWK, a JWK Set nor PEM; a path to one goes into ASGI_JWT_KEYS_FILE"]),
        ("-----BEGIN PUBLIC KEY-----\nAAAA", ["holds a PEM block without its last line: the file is cut off"]),
        ("\udcff", ["is no UTF-8 text"]),
        ("{", ["is broken JSON"]),
        ('{"keys": [], "keys": []}', ["is broken JSON"]),
        ('{"keys": {}}', ["is no JWK Set: its member `keys` is no array"]),
        ('{"keys": []}', ["holds no key that may verify signatures"]),
        ('{"keys": [1]}', ["key 1 of the JWK Set can't be used: is no object"]),
        (
            '{"keys": [{"kty": "AKP"}]}',
            [
                "key 1 of the JWK Set can't be used: its kty is none of RSA, EC, OKP and oct",
                "holds no key that may verify signatures",
            ],
        ),
    ],
)
def test_key_sets_that_cant_be_used(text: str, faults: list[str]) -> None:
    """A set that is broken, or in which no key may verify, is refused with all that is wrong."""
    with pytest.raises(ConfigurationError) as refused:
        KeySet.parse(text)
    assert list(refused.value.faults) == faults


def test_a_broken_key_is_named() -> None:
    """By its place and its `kid`, which is cut short and breaks no line."""
    for kid, told in (("a\n", r"'a\n'"), ("x" * 1000, repr("x" * 64))):
        with pytest.raises(ConfigurationError) as refused:
            KeySet.parse(json.dumps({"keys": [jwks()["keys"][1], {"kty": "RSA", "kid": kid}]}))
        (fault,) = refused.value.faults
        assert fault == f"key 2 of the JWK Set ({told}) can't be used: its members are missing or broken"


def test_a_set_with_a_broken_key_is_refused_whole() -> None:
    """One's own key set is refused when any key in it is broken: a key that is silently missing refuses users."""
    with pytest.raises(ConfigurationError, match="key 2"):
        KeySet.parse(json.dumps({"keys": [jwks()["keys"][1], {"kty": "RSA"}]}))
    barred = {**jwks()["keys"][1], "use": "enc"}
    with pytest.raises(ConfigurationError, match="no key that may verify"):
        KeySet.parse(json.dumps(barred))


def test_a_weak_secret_is_no_key_set() -> None:
    """A short secret is a `ConfigurationError` that does not show it."""
    with pytest.raises(ConfigurationError) as refused:
        KeySet.from_secret("hunter2")
    assert "hunter2" not in str(refused.value)


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


def test_a_thumbprint_is_no_declared_kid() -> None:
    """A key without `kid` fits a token with any: the thumbprint is what it signs with, not a name to match."""
    nameless = key(None)
    assert KeySet([nameless]).candidates("whatever", "RS256") == (nameless,)


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
    assert len(KeySet.parse(json.dumps({"keys": many(4, [algorithm], **kid)})).keys) == 4
    for count in (5, 6):
        with pytest.raises(ConfigurationError, match="more than 4 keys of one algorithm"):
            KeySet.parse(json.dumps({"keys": many(count, [algorithm], **kid)}))


def test_more_pems_than_a_token_is_tried_with() -> None:
    """PEM has no `kid`: four blocks of each family are taken, and a fifth of one is refused."""
    pems = [private_pem(ec.generate_private_key(curve)) for curve in (ec.SECP256R1(), ec.SECP384R1()) for _ in range(4)]
    assert len(KeySet.parse(b"".join(pems)).keys) == 8
    with pytest.raises(ConfigurationError, match="more than 4 keys of one algorithm"):
        KeySet.parse(b"".join([*pems, public_pem(ec.generate_private_key(ec.SECP256R1()))]))


def test_keys_that_are_told_apart_may_be_many() -> None:
    """Keys of other algorithms, each with a `kid` of its own, or barred from verifying cost a token no check."""
    told_apart = [generate_jwk("ES256") for _ in range(9)] + many(9, ["ES256"], use="enc")
    keys = KeySet.parse(json.dumps({"keys": [*many(4, ["ES256", "ES384", "EdDSA"]), *told_apart]}))
    assert (len(keys.keys), keys.surplus()) == (30, ())


def test_a_key_without_a_name_is_tried_however_many_came_after_it() -> None:
    """A secret of a list that was rotated five times verifies its tokens, and a PEM those that name it or none."""
    secret = KeySet.from_secret(SECRET).keys[0]
    later, _ = KeySet.from_jwks({"keys": [generate_jwk("HS256") for _ in range(5)]})
    assert KeySet([*later.keys, secret]).candidates(None, "HS256")[0] is secret
    pems = KeySet([Key.from_pem(private_pem(ec.generate_private_key(ec.SECP256R1()))) for _ in range(6)])
    assert pems.candidates(pems.keys[5].kid, "ES256")[0] is pems.keys[5]
    rotated, _ = KeySet.from_jwks({"keys": [generate_jwk("ES256") for _ in range(5)]})
    assert KeySet([*rotated.keys, pems.keys[0]]).candidates(None, "ES256")[0] is pems.keys[0]


@pytest.mark.parametrize(
    ("algorithms", "alg", "left"),
    [
        ((), None, ("RS256",)),
        ((), "PS512", ("PS512",)),
        (("PS256", "ES256"), None, ("PS256",)),
        (("RS256", "PS512"), "PS512", ("PS512",)),
        (("ES256",), None, ()),
    ],
)
def test_a_key_limited(algorithms: tuple[str, ...], alg: str | None, left: tuple[str, ...]) -> None:
    """A key can be limited to what is allowed, or, where nothing is said, to what it is made for."""
    jwk = RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True) | ({"alg": alg} if alg else {})
    whole = Key.from_jwk({name: value for name, value in jwk.items() if name != "key_ops"})
    assert whole.limited_to(algorithms).algorithms == left
    assert whole.limited_to(algorithms).kid == whole.kid


def test_a_limited_edwards_key_keeps_both_its_names() -> None:
    """`EdDSA` and `Ed25519` name one signature."""
    whole = Key.from_pem(public_pem(ed25519_key()))
    for algorithms in ((), ("EdDSA", "Ed25519")):
        assert whole.limited_to(algorithms).algorithms == ("EdDSA", "Ed25519")


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
    assert kept.keys == (c, a, b)
    assert anew.keeping(KeySet(())).keys == anew.keys


def test_every_algorithm_has_a_key() -> None:
    """The algorithms that can be allowed are those that some key is good for."""
    good_for = {name for _, _, algorithms in KEYS.values() for name in algorithms} | SYMMETRIC
    assert set(ALGORITHMS) == good_for
    assert Key.from_pem(private_pem(ed25519.Ed25519PrivateKey.generate())).default == "EdDSA"


@pytest.mark.parametrize("name", ["nbf", "exp"])
@pytest.mark.parametrize("time", ["1", True, -1, 2**53, [1], float("nan"), float("inf")])
def test_a_time_that_is_none(name: str, time: object) -> None:
    """A key's times are seconds since the epoch, or the key is broken."""
    with pytest.raises(ValueError, match=f"its {name} is no number"):
        Key.from_jwk({**OCT, name: time})


@pytest.mark.parametrize(
    ("algorithm", "slow"), [("HS256", False), ("ES256", False), ("EdDSA", False), ("ES384", True), ("ES512", True)]
)
def test_keys_that_are_slow_to_verify(algorithm: str, slow: bool) -> None:
    """A check by a curve past P-256 takes a good part of a millisecond."""
    assert Key.from_jwk(generate_jwk(algorithm)).slow_to_verify is slow


@pytest.mark.parametrize(("bits", "slow"), [(2048, False), (4096, False), (4104, True)])
def test_rsa_keys_that_are_slow_to_verify(bits: int, slow: bool) -> None:
    """So does one by RSA past 4096 bits."""
    public = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) + 1).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert Key.from_pem(pem).slow_to_verify is slow
