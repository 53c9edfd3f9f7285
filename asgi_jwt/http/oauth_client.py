"""Reads the id of the OAuth client that a request names: RFC 6749 section 2.3."""

from binascii import Error as InvalidBase64
from binascii import a2b_base64

from asgi_jwt.errors import MalformedClient
from asgi_jwt.http.bearer import Headers
from asgi_jwt.http.bodies import Credentials, form_text


def client_id(headers: Headers, fields: Credentials) -> str:
    """The client's id, from Basic credentials or from the body; empty if neither names a client.

    A client secret is ignored: the refresh token alone proves who the client is. Raises `MalformedClient` for two
    Authorization headers, broken credentials and two different ids.
    """
    named = {given for given in (_basic_client_id(headers), fields.get("client_id", "")) if given}
    if len(named) > 1:
        raise MalformedClient("the body names another client than the Basic credentials")
    return named.pop() if named else ""


def _basic_client_id(headers: Headers) -> str:
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) > 1:
        raise MalformedClient("two Authorization headers")
    scheme, _, encoded = (values[0] if values else b"").strip(b" \t").partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        # Id and secret are form-encoded before they are joined, so an id may contain a colon (RFC 6749 section 2.3.1).
        given, colon, _ = a2b_base64(encoded.strip(b" "), strict_mode=True).partition(b":")
        name = form_text(given)
    except (InvalidBase64, ValueError):
        raise MalformedClient("broken Basic credentials") from None
    if not colon:
        raise MalformedClient("Basic credentials without a colon")
    return name
