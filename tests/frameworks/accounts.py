"""The users of the frameworks' apps."""

from asgi_jwt import Credentials, Identity

SCOPES = {"alice": "orders:read orders:write", "bob": "orders:read", "carol": ""}


def authenticate(credentials: Credentials, request: object) -> Identity | None:
    """Everybody's password is `wonderland`."""
    name = credentials["username"]
    if name not in SCOPES or credentials["password"] != "wonderland":
        return None
    return Identity(name, scopes=SCOPES[name])
