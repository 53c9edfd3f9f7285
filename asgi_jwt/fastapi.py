"""What `require` is for FastAPI. Imported by it, and only when FastAPI is loaded already."""

from inspect import Parameter, Signature

from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes

from asgi_jwt.tokens.claims import Claims

REQUIRE_SIGNATURE = Signature(
    [
        Parameter("connection", Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection),
        Parameter("security_scopes", Parameter.KEYWORD_ONLY, annotation=SecurityScopes),
    ],
    return_annotation=Claims,
)
"""FastAPI injects by annotation, and so hands over the scopes of every `Security` on the way to the dependency."""
