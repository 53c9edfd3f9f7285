"""Settings: the sources of values, the readers of values, and the rules between settings, a file each."""

from asgi_jwt.settings.fields import MAX_LEEWAY
from asgi_jwt.settings.settings import Settings, given_variables

__all__ = ["MAX_LEEWAY", "Settings", "given_variables"]
