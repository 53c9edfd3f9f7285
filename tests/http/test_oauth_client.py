"""The id of the OAuth client that a request names."""

import base64

import pytest

from asgi_jwt import Credentials
from asgi_jwt.errors import InvalidRequest, MalformedClient
from asgi_jwt.http.oauth_client import client_id


def named(*authorization: bytes, **fields: object) -> str:
    return client_id([(b"authorization", value) for value in authorization], Credentials(fields))


def basic(credentials: bytes, scheme: bytes = b"Basic") -> bytes:
    return scheme + b" " + base64.b64encode(credentials)


@pytest.mark.parametrize(
    ("credentials", "name"),
    [
        *((b"app:secret", "app"), (b"app:", "app"), (b":secret", ""), (b"app:a:b%zz\xff", "app")),
        *(
            (b"a+b%2Bc%3A%25:secret", "a b+c:%"),
            (b"a client:secret", "a client"),
            (b"cl%C3%AFent=&:secret", "clïent=&"),
        ),
        (b"https%3A%2F%2Fclient.example%2Fid:", "https://client.example/id"),
    ],
)
def test_basic_credentials(credentials: bytes, name: str) -> None:
    """The id is what stands before the first colon, form-decoded; the secret may be anything."""
    assert named(basic(credentials)) == name
    assert named(basic(credentials, b"bAsIC") + b" ") == name
    assert named(basic(credentials, b" Basic ")) == name
    assert named(basic(credentials), client_id=name) == name


BROKEN = [b"Basic", b"Basic app:secret", b"Basic YXBwOg", b"Basic YXBw Og==", b"Basic " + b"%" * 60_000]
BROKEN += [basic(name) for name in (b"app", b"app%4:secret", b"app%ff:secret", b"\xe9:secret", b"%" * 45_000 + b":")]


@pytest.mark.parametrize("value", BROKEN)
def test_broken_basic_credentials(value: bytes) -> None:
    """Credentials that are no base64, have no colon or a broken escape are a 400, whatever the body says."""
    for fields in ({}, {"client_id": "app"}):
        with pytest.raises(MalformedClient) as refused:
            named(value, **fields)
        assert (refused.value.status, refused.value.error) == (400, "invalid_request")


def test_another_scheme() -> None:
    """Another scheme names no client: an app may send its Bearer token along."""
    assert named() == named(b"Bearer token") == named(b"") == named(b"Basically YXBwOg==") == ""
    assert named(b"Bearer token", client_id="app") == named(client_id="app") == "app"


def test_two_names() -> None:
    """Two different ids, and two Authorization headers, are a 400; an empty id is none."""
    assert named(basic(b":"), client_id="app") == named(basic(b"app:"), client_id="") == "app"
    for headers in ([basic(b"app:"), basic(b"app:")], [b"Bearer token", basic(b"app:")], [basic(b"other:")]):
        with pytest.raises(MalformedClient):
            named(*headers, client_id="app")
    with pytest.raises(InvalidRequest):
        named(client_id=["app"])
