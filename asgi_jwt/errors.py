"""What can go wrong, and what each party is told of it.

```
ConfigurationError              at construction: every fault of the settings, in one message
AuthError                       status  error code           reason (for logs and metrics)
├── MissingToken                401     none                 token_missing
├── InvalidRequest              400     invalid_request      request_invalid
│   ├── AmbiguousCredentials    400                          credentials_ambiguous
│   ├── MalformedCredentials    400                          credentials_malformed
│   ├── MalformedBody           400                          body_malformed
│   ├── MissingField            400                          field_missing
│   ├── MalformedClient         400                          client_malformed
│   ├── InvalidScope            400     invalid_scope        scope_invalid
│   └── UnsupportedTokenType    400     unsupported_token_type  token_type_unsupported
├── InvalidToken                401     invalid_token        token_invalid
│   ├── TokenTooLarge                                        token_too_large
│   ├── MalformedToken                                       token_malformed
│   ├── AlgorithmNotAllowed                                  algorithm_not_allowed
│   ├── UnsupportedHeader                                    header_unsupported
│   ├── WrongHeaderType                                      header_type_invalid
│   ├── UnknownKey                                           key_unknown
│   ├── UnsuitableKey                                        key_unsuitable
│   ├── InvalidSignature                                     signature_invalid
│   ├── MalformedClaims                                      claims_malformed
│   ├── MissingClaim                                         claim_missing
│   ├── WrongClaim                                           claim_invalid
│   ├── ExpiredToken                                         token_expired
│   ├── ImmatureToken                                        token_not_yet_valid
│   ├── IssuedInFuture                                       token_issued_in_future
│   ├── WrongIssuer                                          issuer_invalid
│   ├── WrongAudience                                        audience_invalid
│   ├── WrongType                                            type_invalid
│   ├── RevokedToken                                         token_revoked
│   └── RefusedToken                                         token_refused
├── InsufficientScope           403     insufficient_scope   scope_insufficient
│   └── InsufficientRole        403                          role_insufficient
├── CrossSite                   403     cross_site           cross_site
├── InvalidGrant                401     invalid_grant        grant_invalid
│   ├── SessionOver                                          session_over
│   ├── TokenReused                                          token_reused
│   └── InvalidCredentials                                   credentials_invalid
├── UnsupportedGrantType        400                          grant_type_unsupported
├── SessionNotFound             404     not_found            session_not_found
├── BodyTooLarge                413     body_too_large       body_too_large
├── UnsupportedMediaType        415                          media_type_unsupported
├── TooManyAttempts             429     too_many_attempts    too_many_attempts
├── CookieTooLarge              500     server_error         cookie_too_large
└── Unavailable                 503     temporarily_unavailable
    ├── KeysUnavailable                                      keys_unavailable
    ├── RevocationsUnavailable                               revocations_unavailable
    └── StoreUnavailable                                     store_unavailable
```
"""

from collections.abc import Iterable
from math import ceil
from typing import ClassVar


class ConfigurationError(ValueError):
    """The settings can't be used.

    `faults` lists everything that is wrong with them, one sentence each with its mend; no fault shows a secret.
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(["asgi_jwt is not configured:", *(f"  - {fault}" for fault in self.faults)]))


class AuthError(Exception):
    """A request that is refused.

    `description`, of the class, is sent to the client: a child with its own, raised from `validate`, refuses a token
    in your words. `detail`, the argument, is the exception's text and goes nowhere by itself; it may be None.
    """

    status: ClassVar[int] = 401
    error: ClassVar[str | None] = None
    """The error code of RFC 6750 section 3.1 or RFC 6749 section 5.2; None where the RFC wants none."""
    reason: ClassVar[str] = "unauthorized"
    """A stable code for logs and metrics."""
    description: str = "Authentication is required"
    """Safe to send: it holds nothing of the request."""
    challenges: ClassVar[bool] = True
    """Whether the answer carries `WWW-Authenticate`."""
    retry_after: int | None = None
    """Seconds after which another try makes sense."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail
        super().__init__(detail or self.description)


class MissingToken(AuthError):
    """The request bears no token: the challenge then has no error code (RFC 6750 section 3.1)."""

    reason = "token_missing"
    description = "The request has no Bearer token"


class InvalidRequest(AuthError):
    """The request is malformed (RFC 6750 section 3.1: 400)."""

    status = 400
    error = "invalid_request"
    reason = "request_invalid"
    description = "The request is malformed"


class AmbiguousCredentials(InvalidRequest):
    """Two Authorization headers or two cookies of the token's name: RFC 6750 section 2 allows one token a request."""

    reason = "credentials_ambiguous"
    description = "The request bears more than one token"


class MalformedCredentials(InvalidRequest):
    """No credentials, or several, behind the scheme (RFC 6750 section 2.1)."""

    reason = "credentials_malformed"
    description = "The scheme Bearer takes exactly one token"


class MalformedBody(InvalidRequest):
    """The body is broken JSON or a broken form, names a field twice, or has too many fields."""

    reason = "body_malformed"
    description = "The body is malformed"
    challenges = False


class MissingField(InvalidRequest):
    """The body lacks a field, or the field is no text. The detail is its name; with a `fault` the answer says both."""

    reason = "field_missing"
    description = "A field of the body is missing or no text"
    challenges = False

    def __init__(self, detail: str | None = None, *, fault: str | None = None) -> None:
        super().__init__(detail)
        if fault is not None:
            # The name stands in the host's code: nothing of the request is told.
            self.description = f"The field '{detail}' of the body {fault}"


class MalformedClient(InvalidRequest):
    """Basic credentials that are broken, or that name another OAuth client than the body (RFC 6749 section 2.3)."""

    reason = "client_malformed"
    description = "The client's credentials are malformed or name two clients"


class InvalidScope(InvalidRequest):
    """The scope asked for goes past the scope of the session (RFC 6749 section 5.2)."""

    error = "invalid_scope"
    reason = "scope_invalid"
    description = "The scope exceeds the scope of the session"


class UnsupportedTokenType(InvalidRequest):
    """An access token with neither `jti` nor `sid` can't be revoked: it holds until `exp` (RFC 7009 section 2.2.1)."""

    error = "unsupported_token_type"
    reason = "token_type_unsupported"
    description = "The access token has neither jti nor sid and can't be revoked: it holds until it expires"


class InvalidToken(AuthError):
    """The token is expired, revoked, malformed or otherwise invalid (RFC 6750 section 3.1: 401)."""

    error = "invalid_token"
    reason = "token_invalid"
    description = "The access token is invalid"


class TokenTooLarge(InvalidToken):
    """Longer than `max_token_size`; nothing of it was looked at."""

    reason = "token_too_large"
    description = "The access token is too large"


class MalformedToken(InvalidToken):
    """Not a JWS in compact form (RFC 7515 section 7.1), or JSON that is not a plain object."""

    reason = "token_malformed"
    description = "The access token is malformed"


class AlgorithmNotAllowed(InvalidToken):
    """The header's `alg` is not among the allowed ones (RFC 8725 section 3.1)."""

    reason = "algorithm_not_allowed"
    description = "The access token's algorithm is not allowed"


class UnsupportedHeader(InvalidToken):
    """The header has `crit` or `b64` (RFC 7515 section 4.1.11, RFC 7797)."""

    reason = "header_unsupported"
    description = "The access token uses an unsupported header parameter"


class WrongHeaderType(InvalidToken):
    """The header's `typ` is of another kind of token (RFC 8725 section 3.11)."""

    reason = "header_type_invalid"
    description = "The token's typ header is not an access token's"


class UnknownKey(InvalidToken):
    """No key has the header's `kid`, or more keys fit than a token is tried with."""

    reason = "key_unknown"
    description = "The access token was signed with an unknown key"


class UnsuitableKey(InvalidToken):
    """The key named by `kid` is of another family or curve, or its `use` or `key_ops` don't permit verifying."""

    reason = "key_unsuitable"
    description = "The access token's key is not made for its algorithm"


class InvalidSignature(InvalidToken):
    """The signature does not verify."""

    reason = "signature_invalid"
    description = "The access token's signature is invalid"


class MalformedClaims(InvalidToken):
    """A claim is of the wrong type, or a time is no finite number (RFC 7519 section 4.1)."""

    reason = "claims_malformed"
    description = "The access token's claims are malformed"


class MissingClaim(InvalidToken):
    """A required claim is absent."""

    reason = "claim_missing"
    description = "The access token lacks a required claim"


class WrongClaim(InvalidToken):
    """A required claim has another value, or `cnf` asks for a proof that is not checked (RFC 7800 section 3.1)."""

    reason = "claim_invalid"
    description = "A claim of the access token has an unexpected value"


class ExpiredToken(InvalidToken):
    """`exp` and the leeway have passed (RFC 7519 section 4.1.4)."""

    reason = "token_expired"
    description = "The access token expired"


class ImmatureToken(InvalidToken):
    """`nbf` is still ahead (RFC 7519 section 4.1.5)."""

    reason = "token_not_yet_valid"
    description = "The access token is not yet valid"


class IssuedInFuture(InvalidToken):
    """`iat` is still ahead (RFC 7519 section 4.1.6)."""

    reason = "token_issued_in_future"
    description = "The access token was issued in the future"


class WrongIssuer(InvalidToken):
    """`iss` is not the expected issuer, or not the one whose key verified (RFC 7519 section 4.1.1)."""

    reason = "issuer_invalid"
    description = "The access token is from another issuer"


class WrongAudience(InvalidToken):
    """`aud` names none of the expected audiences (RFC 7519 section 4.1.3)."""

    reason = "audience_invalid"
    description = "The access token is for another audience"


class WrongType(InvalidToken):
    """The type claim is not an access token's, or `events` is a logout token's."""

    reason = "type_invalid"
    description = "The token's type claim is not an access token's"


class RevokedToken(InvalidToken):
    """The token, its session or its subject's tokens were revoked."""

    reason = "token_revoked"
    description = "The access token was revoked"


class RefusedToken(InvalidToken):
    """The host's `validate` said no."""

    reason = "token_refused"
    description = "The access token was refused"


class InsufficientScope(AuthError):
    """The token lacks a scope; `scope` names those that are needed (RFC 6750 section 3.1: 403)."""

    status = 403
    error = "insufficient_scope"
    reason = "scope_insufficient"
    description = "The access token lacks a required scope"

    def __init__(self, detail: str | None = None, *, scope: str = "") -> None:
        super().__init__(detail)
        self.scope = scope


class InsufficientRole(InsufficientScope):
    """The user has none of the roles that are needed."""

    reason = "role_insufficient"
    description = "The user lacks a required role"


class CrossSite(AuthError):
    """Another site's page sent the request, and it relies on a cookie. No challenge: a token would not mend it."""

    status = 403
    error = "cross_site"
    reason = "cross_site"
    description = "The request comes from another site"
    challenges = False


class InvalidGrant(AuthError):
    """What was presented for tokens is no good (RFC 6749 section 5.2). `POST /token` answers it with 400."""

    error = "invalid_grant"
    reason = "grant_invalid"
    description = "The refresh token is missing or invalid"


class SessionOver(InvalidGrant):
    """The refresh token's session is unknown, expired or ended."""

    reason = "session_over"
    description = "The session is over"


class TokenReused(InvalidGrant):
    """A refresh token came back that nobody honest still holds: its session has ended (RFC 9700 section 4.14.2)."""

    reason = "token_reused"
    description = "The session is over"


class InvalidCredentials(InvalidGrant):
    """The host's `authenticate` knows nobody with these credentials."""

    reason = "credentials_invalid"
    description = "The credentials are wrong"


class UnsupportedGrantType(AuthError):
    """`POST /token` takes `grant_type=refresh_token` alone (RFC 6749 section 5.2)."""

    status = 400
    error = "unsupported_grant_type"
    reason = "grant_type_unsupported"
    description = "The grant type has to be refresh_token"
    challenges = False


class SessionNotFound(AuthError):
    """The subject has no such live session."""

    status = 404
    error = "not_found"
    reason = "session_not_found"
    description = "There is no such session"
    challenges = False


class BodyTooLarge(AuthError):
    """The body is past 64 KiB."""

    status = 413
    error = "body_too_large"
    reason = "body_too_large"
    description = "The body is too large"
    challenges = False


class UnsupportedMediaType(AuthError):
    """The body is neither JSON nor a form."""

    status = 415
    error = "unsupported_media_type"
    reason = "media_type_unsupported"
    description = "The body has to be application/json or application/x-www-form-urlencoded"
    challenges = False


class TooManyAttempts(AuthError):
    """Raise it from `authenticate` to slow a guesser down. `retry_after`: seconds, whole and above zero."""

    status = 429
    error = "too_many_attempts"
    reason = "too_many_attempts"
    description = "Too many attempts"
    challenges = False

    def __init__(self, retry_after: float, detail: str | None = None) -> None:
        super().__init__(detail)
        self.retry_after = max(1, ceil(retry_after))

    def __reduce__(self) -> tuple[type, tuple[int | None, str | None]]:
        return type(self), (self.retry_after, self.detail)


class CookieTooLarge(AuthError):
    """Browsers drop the cookie of a token in silence: with its name it is past 4,096 bytes (RFC 6265bis section 5.7).

    The detail is for the log: which cookie, and by how much.
    """

    status = 500
    error = "server_error"
    reason = "cookie_too_large"
    description = "The tokens are larger than a cookie may be"
    challenges = False


class Unavailable(AuthError):
    """Something we depend on is out of reach: 503, never a 401, which would set off a storm of refreshes."""

    status = 503
    error = "temporarily_unavailable"
    reason = "unavailable"
    description = "Authentication is temporarily unavailable"
    challenges = False
    retry_after = 1


class KeysUnavailable(Unavailable):
    """The issuer's keys can't be fetched, and those kept are too old to use."""

    reason = "keys_unavailable"


class RevocationsUnavailable(Unavailable):
    """The log of revocations has not been read for so long that a revoked token might pass."""

    reason = "revocations_unavailable"


class StoreUnavailable(Unavailable):
    """The session store did not answer, or not in time. What it was asked may or may not have happened."""

    reason = "store_unavailable"
