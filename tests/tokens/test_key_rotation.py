"""New keys, and how one takes the place of another."""

import json
from typing import Any

import jwt
import pytest
from jwt.algorithms import ECAlgorithm
from support.tokens import NOW, ec_key, jwk_of

from asgi_jwt.tokens.algorithms import ALGORITHMS, SYMMETRIC
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk, rotate
from asgi_jwt.tokens.keys import KeySet

OVERLAP, KEEP = 600, 3960


def rotated(jwks: list[dict[str, Any]], new: str = "new", *, now: int = NOW, overlap: int = OVERLAP) -> Any:
    """What a rotation makes of a set; the new key is named."""
    return rotate(jwks, private(new), now=now, overlap=overlap, keep=KEEP)


def private(kid: str, **members: Any) -> dict[str, Any]:
    jwk: dict[str, Any] = ECAlgorithm.to_jwk(ec_key(), as_dict=True)
    return {**jwk, "kid": kid, **members}


def names(jwks: list[dict[str, Any]]) -> list[str]:
    return [jwk["kid"] for jwk in jwks]


PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth"}
"""RFC 7518 sections 6.2.2, 6.3.2 and RFC 8037 section 2."""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_new_key_is_for_its_algorithm(algorithm: str) -> None:
    """It signs and verifies with it, as others' libraries do too, has a name of its own, and is made anew each time."""
    jwk = generate_jwk(algorithm)
    key = Key.from_jwk(jwk)
    assert (key.default, key.signs, key.verifies, key.declared) == (algorithm, True, True, True)
    assert key.verify(algorithm, b"message", key.sign(algorithm, b"message"))
    assert generate_jwk(algorithm)["kid"] != jwk["kid"]
    if algorithm != "Ed25519":  # which PyJWT does not know by this name
        message, _, signature = jwt.encode({}, jwt.PyJWK(jwk).key, algorithm).rpartition(".")
        assert key.verify(algorithm, message.encode(), jwt.utils.base64url_decode(signature))
    public = {name: value for name, value in jwk.items() if name not in PRIVATE}
    assert key.public_jwk() == (None if algorithm in SYMMETRIC else public)


def test_a_rotation() -> None:
    """The new key is published, signs after the overlap, and the old one ends when its last token has."""
    old = KeySet.parse(json.dumps({"keys": rotated([private("old")])}))
    for now, signing, verifying in (
        (NOW, "old", ["old", "new"]),
        (NOW + OVERLAP - 1, "old", ["old", "new"]),
        (NOW + OVERLAP, "new", ["new", "old"]),
        (NOW + OVERLAP + KEEP - 1, "new", ["new", "old"]),
        (NOW + OVERLAP + KEEP, "new", ["new"]),
    ):
        keys = old.at(now)
        key = keys.signing_key()
        assert key is not None
        assert key.kid == signing
        assert [key.kid for key in keys] == verifying
        assert now < old.holds_until(now)


def test_rotations_follow_each_other() -> None:
    """What has ended leaves the set with the next rotation, and no end is put off."""
    once = rotated([private("first")])
    later = NOW + OVERLAP + KEEP - 1
    twice = rotated(once, "third", now=later)
    assert names(twice) == ["third", "new", "first"]
    assert [jwk.get("exp") for jwk in twice] == [None, later + OVERLAP + KEEP, NOW + OVERLAP + KEEP]
    assert names(rotated(twice, "fourth", now=later + OVERLAP)) == ["fourth", "third", "new"]


def test_other_keys_stay_as_they_are() -> None:
    """Public keys of other signers, and keys for other uses, are nobody's to end."""
    public, foreign = jwk_of(ec_key(), "public"), {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "other"}
    stays = rotated([private("old"), public, foreign, private("enc", use="enc")])
    assert stays[2:] == [public, foreign, private("enc", use="enc")]
    gone = rotated([private("old"), {**public, "exp": NOW}, {**public, "exp": NOW + 1}])
    assert [jwk.get("exp") for jwk in gone[2:]] == [NOW + 1]
