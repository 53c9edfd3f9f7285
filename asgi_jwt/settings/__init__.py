"""Settings: where values come from, how each is read, and the rules between them."""

from asgi_jwt.settings.fields import MAX_LEEWAY
from asgi_jwt.settings.settings import Settings, given_variables

__all__ = ["MAX_LEEWAY", "Settings", "given_variables"]
