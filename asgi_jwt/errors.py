"""Every error of the package: its HTTP status, its error code, and the reason that logs and metrics show.

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
│   ├── InvalidLogoutToken      400                          logout_token_invalid
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
│   ├── UnboundToken                                         token_unbound
│   ├── InactiveToken                                        token_inactive
│   ├── RevokedToken                                         token_revoked
│   └── RefusedToken                                         token_refused
├── InvalidProof                401     invalid_dpop_proof   proof_invalid
│   └── InvalidGrantProof       400                          grant_proof_invalid
├── InsufficientAuthentication  401     insufficient_user_authentication  authentication_insufficient
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
    │   └── NotPublished                                     keys_not_published
    ├── VerifierUnavailable                                  verifier_unavailable
    ├── RevocationsUnavailable                               revocations_unavailable
    ├── ProofMemoryFull                                      proof_memory_full
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
    """A request is refused.

    The class attribute `description` is sent to the client. A subclass with its own `description`, raised from
    `validate`, refuses a token with that text. The argument `detail` is the exception's text, and the package never
    sends it to a client; it may be None.
    """

    status: ClassVar[int] = 401
    error: ClassVar[str | None] = None
    """The error code. None: the answer has none (RFC 6750 section 3.1, RFC 6749 section 5.2)."""
    reason: ClassVar[str] = "unauthorized"
    """A stable code for logs and metrics."""
    description: str = "Authentication is required"
    """A text for the client. It contains nothing of the request."""
    challenges: ClassVar[bool] = True
    """Whether the answer carries `WWW-Authenticate`."""
    retry_after: int | None = None
    """When the client may try again, in whole seconds from now. None: the answer has no `Retry-After`."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail
        super().__init__(detail or self.description)

    @property
    def parameters(self) -> dict[str, str]:
        """Further parameters of the challenge, by name."""
        return {}


class MissingToken(AuthError):
    """The request has no token. Its challenge has no error code (RFC 6750 section 3.1)."""

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
    description = "The scheme takes exactly one token"


class MalformedBody(InvalidRequest):
    """The body is broken JSON or a broken form, names a field twice, or has too many fields."""

    reason = "body_malformed"
    description = "The body is malformed"
    challenges = False


class MissingField(InvalidRequest):
    """A field of the body is missing, or its value is no text.

    `detail` is the field's name. With `fault`, as "is missing", the description names the field and its fault.
    """

    reason = "field_missing"
    description = "A field of the body is missing or no text"
    challenges = False

    def __init__(self, detail: str | None = None, *, fault: str | None = None) -> None:
        super().__init__(detail)
        if fault is not None:
            # The host's code chose this name, so the description still contains nothing of the request.
            self.description = f"The field '{detail}' of the body {fault}"


class MalformedClient(InvalidRequest):
    """The Basic credentials are malformed, or they and the body name two OAuth clients (RFC 6749 section 2.3)."""

    reason = "client_malformed"
    description = "The client's credentials are malformed or name two clients"


class InvalidLogoutToken(InvalidRequest):
    """The logout token is invalid (OpenID Connect Back-Channel Logout 1.0 section 2.8). `detail` has the reason."""

    reason = "logout_token_invalid"
    description = "The logout token is invalid"
    challenges = False


class InvalidScope(InvalidRequest):
    """The request asks for a scope that the session does not have (RFC 6749 section 5.2)."""

    error = "invalid_scope"
    reason = "scope_invalid"
    description = "The scope exceeds the scope of the session"


class UnsupportedTokenType(InvalidRequest):
    """The access token has no `jti` and no `sid`, so it can't be revoked before its `exp` (RFC 7009 section 2.2.1)."""

    error = "unsupported_token_type"
    reason = "token_type_unsupported"
    description = "The access token has neither jti nor sid and can't be revoked: it holds until it expires"


class InvalidToken(AuthError):
    """The token is expired, revoked, malformed or otherwise invalid (RFC 6750 section 3.1: 401)."""

    error = "invalid_token"
    reason = "token_invalid"
    description = "The access token is invalid"


class TokenTooLarge(InvalidToken):
    """The token is longer than `max_token_size` bytes. It is refused before it is parsed."""

    reason = "token_too_large"
    description = "The access token is too large"


class MalformedToken(InvalidToken):
    """The token is no JWS in compact form, or its JSON is no plain object (RFC 7515 section 7.1)."""

    reason = "token_malformed"
    description = "The access token is malformed"


class AlgorithmNotAllowed(InvalidToken):
    """The header's `alg` is none of the allowed algorithms (RFC 8725 section 3.1)."""

    reason = "algorithm_not_allowed"
    description = "The access token's algorithm is not allowed"


class UnsupportedHeader(InvalidToken):
    """The header has `crit` or `b64` (RFC 7515 section 4.1.11, RFC 7797)."""

    reason = "header_unsupported"
    description = "The access token uses an unsupported header parameter"


class WrongHeaderType(InvalidToken):
    """The header's `typ` names another kind of token (RFC 8725 section 3.11)."""

    reason = "header_type_invalid"
    description = "The token's typ header is not an access token's"


class UnknownKey(InvalidToken):
    """No key has the header's `kid`, or the token has no `kid` and more keys fit than are tried for one token."""

    reason = "key_unknown"
    description = "The access token was signed with an unknown key"


class UnsuitableKey(InvalidToken):
    """The key named by `kid` is of another family or curve, or its `use` or `key_ops` forbid verifying with it."""

    reason = "key_unsuitable"
    description = "The access token's key is not made for its algorithm"


class InvalidSignature(InvalidToken):
    """The signature does not verify."""

    reason = "signature_invalid"
    description = "The access token's signature is invalid"


class MalformedClaims(InvalidToken):
    """A claim has the wrong type, or a time is no finite number (RFC 7519 section 4.1)."""

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
    """`exp` plus the leeway is in the past (RFC 7519 section 4.1.4)."""

    reason = "token_expired"
    description = "The access token expired"


class ImmatureToken(InvalidToken):
    """`nbf` minus the leeway is in the future (RFC 7519 section 4.1.5)."""

    reason = "token_not_yet_valid"
    description = "The access token is not yet valid"


class IssuedInFuture(InvalidToken):
    """`iat` minus the leeway is in the future (RFC 7519 section 4.1.6)."""

    reason = "token_issued_in_future"
    description = "The access token was issued in the future"


class WrongIssuer(InvalidToken):
    """`iss` is no expected issuer, or another issuer's key verified the signature (RFC 7519 section 4.1.1)."""

    reason = "issuer_invalid"
    description = "The access token is from another issuer"


class WrongAudience(InvalidToken):
    """`aud` names none of the expected audiences (RFC 7519 section 4.1.3)."""

    reason = "audience_invalid"
    description = "The access token is for another audience"


class WrongType(InvalidToken):
    """The type claim names another kind of token, or the claim `events` marks a logout token."""

    reason = "type_invalid"
    description = "The token's type claim is not an access token's"


class UnboundToken(InvalidToken):
    """The token is bound to no key, and `DPOP=required` or the scheme `DPoP` asks for one (RFC 9449 section 7.1)."""

    reason = "token_unbound"
    description = "The access token is not bound to a key"


class InactiveToken(InvalidToken):
    """The token is no JWT, and no verifier and no authorization server knows it as active (RFC 7662 section 2.2)."""

    reason = "token_inactive"
    description = "The access token is unknown or no longer active"


class RevokedToken(InvalidToken):
    """The token was revoked by itself, with its session, or with all tokens of its subject."""

    reason = "token_revoked"
    description = "The access token was revoked"


class RefusedToken(InvalidToken):
    """The host's `validate` refused the token."""

    reason = "token_refused"
    description = "The access token was refused"


class InvalidProof(AuthError):
    """The proof of a bound token's key is missing, invalid, replayed, or of another key (RFC 9449 section 7.1: 401)."""

    error = "invalid_dpop_proof"
    reason = "proof_invalid"
    description = "The DPoP proof is missing or invalid"


class InvalidGrantProof(InvalidProof):
    """The proof of a login or a refresh is missing or invalid (RFC 9449 section 5: 400)."""

    status = 400
    reason = "grant_proof_invalid"
    challenges = False


class InsufficientAuthentication(AuthError):
    """The login is too old, or was made by another method than the route asks for (RFC 9470 section 3: 401).

    `acr_values` lists the accepted methods, separated by spaces, and is empty for any method. `max_age` is how long ago
    the login may be, in seconds, and None for any time.
    """

    error = "insufficient_user_authentication"
    reason = "authentication_insufficient"
    description = "A more recent or a stronger login is required"

    def __init__(self, detail: str | None = None, *, acr_values: str = "", max_age: int | None = None) -> None:
        super().__init__(detail)
        self.acr_values = acr_values
        self.max_age = max_age

    @property
    def parameters(self) -> dict[str, str]:
        asked = {"acr_values": self.acr_values, "max_age": "" if self.max_age is None else str(self.max_age)}
        return {name: value for name, value in asked.items() if value}


class InsufficientScope(AuthError):
    """The token lacks a required scope. `scope` lists the required scopes (RFC 6750 section 3.1: 403)."""

    status = 403
    error = "insufficient_scope"
    reason = "scope_insufficient"
    description = "The access token lacks a required scope"

    def __init__(self, detail: str | None = None, *, scope: str = "") -> None:
        super().__init__(detail)
        self.scope = scope

    @property
    def parameters(self) -> dict[str, str]:
        return {"scope": self.scope} if self.scope else {}


class InsufficientRole(InsufficientScope):
    """The user has none of the required roles."""

    reason = "role_insufficient"
    description = "The user lacks a required role"


class CrossSite(AuthError):
    """A page of another site sent a request that relies on a cookie. The answer has no challenge."""

    status = 403
    error = "cross_site"
    reason = "cross_site"
    description = "The request comes from another site"
    challenges = False


class InvalidGrant(AuthError):
    """The refresh token or the credentials are refused. `POST /token` answers 400 (RFC 6749 section 5.2)."""

    error = "invalid_grant"
    reason = "grant_invalid"
    description = "The refresh token is missing or invalid"


class SessionOver(InvalidGrant):
    """The refresh token's session is unknown, expired or ended."""

    reason = "session_over"
    description = "The session is over"


class TokenReused(InvalidGrant):
    """A rotated refresh token was presented again: it counts as stolen, and its session was ended.

    RFC 9700 section 4.14.2.
    """

    reason = "token_reused"
    description = "The session is over"


class InvalidCredentials(InvalidGrant):
    """The host's `authenticate` found no user with these credentials."""

    reason = "credentials_invalid"
    description = "The credentials are wrong"


class UnsupportedGrantType(AuthError):
    """`POST /token` got another `grant_type` than `refresh_token` (RFC 6749 section 5.2)."""

    status = 400
    error = "unsupported_grant_type"
    reason = "grant_type_unsupported"
    description = "The grant type has to be refresh_token"
    challenges = False


class SessionNotFound(AuthError):
    """The subject has no live session with this `sid`."""

    status = 404
    error = "not_found"
    reason = "session_not_found"
    description = "There is no such session"
    challenges = False


class BodyTooLarge(AuthError):
    """The body is larger than 64 KiB, or comes in too many parts."""

    status = 413
    error = "body_too_large"
    reason = "body_too_large"
    description = "The body is too large"
    challenges = False


class UnsupportedMediaType(AuthError):
    """The body's content type is neither JSON nor a form."""

    status = 415
    error = "unsupported_media_type"
    reason = "media_type_unsupported"
    description = "The body has to be application/json or application/x-www-form-urlencoded"
    challenges = False


class TooManyAttempts(AuthError):
    """Too many logins were tried: the host's `authenticate` raises it to slow down whoever guesses passwords.

    `retry_after`: when the client may try again, in seconds from now. It is rounded up, to 1 at least.
    """

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
    """A token is too large for a cookie: browsers silently drop a cookie whose name and value exceed 4,096 bytes.

    `detail` names the cookie and its size, for the log (RFC 6265bis section 5.7).
    """

    status = 500
    error = "server_error"
    reason = "cookie_too_large"
    description = "The tokens are larger than a cookie may be"
    challenges = False


class Unavailable(AuthError):
    """Keys, revocations or the store are out of reach. It is a 503: a 401 would make every client refresh at once."""

    status = 503
    error = "temporarily_unavailable"
    reason = "unavailable"
    description = "Authentication is temporarily unavailable"
    challenges = False
    retry_after = 1


class KeysUnavailable(Unavailable):
    """The issuer's keys can't be fetched, and the kept keys are too old to use."""

    reason = "keys_unavailable"


class NotPublished(KeysUnavailable):
    """The issuer's server answers 404 where its metadata or its keys should be."""

    reason = "keys_not_published"


class VerifierUnavailable(Unavailable):
    """A verifier of tokens that are no JWT failed, or the authorization server gave no usable answer about one."""

    reason = "verifier_unavailable"


class RevocationsUnavailable(Unavailable):
    """The log of revocations was last read so long ago that a revoked token might pass."""

    reason = "revocations_unavailable"


class ProofMemoryFull(Unavailable):
    """The process remembers `DPOP_REPLAY_SIZE` proofs, and can't tell whether a further one was shown before."""

    reason = "proof_memory_full"


class StoreUnavailable(Unavailable):
    """The session store failed or did not answer in time. The operation may or may not have taken effect."""

    reason = "store_unavailable"
