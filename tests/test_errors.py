"""The error tree: its statuses, codes, reasons and descriptions."""

import copy
import inspect
import re
from pathlib import Path

import pytest

from asgi_jwt import errors
from asgi_jwt.errors import (
    AuthError,
    ConfigurationError,
    InsufficientRole,
    InsufficientScope,
    InvalidToken,
    TooManyAttempts,
    Unavailable,
)

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, AuthError)]

# Those below which the status is not 401.
STATUSES: dict[type[AuthError], int] = {
    errors.InvalidRequest: 400,
    errors.UnsupportedGrantType: 400,
    errors.InvalidGrantProof: 400,
    errors.InsufficientScope: 403,
    errors.CrossSite: 403,
    errors.SessionNotFound: 404,
    errors.BodyTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.TooManyAttempts: 429,
    errors.CookieTooLarge: 500,
    errors.Unavailable: 503,
}

# What another token, or a login, would mend: RFC 6750 section 3, RFC 9110 section 15.5.2.
CHALLENGING = (
    *(errors.MissingToken, errors.InvalidRequest, InvalidToken, errors.InvalidProof, InsufficientScope),
    *(errors.InvalidGrant, errors.InsufficientAuthentication),
)
OF_THE_BODY = (errors.MalformedBody, errors.MissingField, errors.InvalidLogoutToken, errors.InvalidGrantProof)


def raised(error: type[AuthError], detail: str | None = None) -> AuthError:
    return error(30, detail) if issubclass(error, TooManyAttempts) else error(detail)


def drawn_tree() -> dict[str, tuple[str, str]]:
    """Each error that the docstring draws, with the name of its parent and the rest of its line."""
    parents, drawn = ["AuthError"], {}
    lines = re.findall(r"^((?:│   |    |[├└]── )+)(\w+)(.*)$", errors.__doc__ or "", re.MULTILINE)
    for branch, name, rest in lines:
        depth = len(branch) // 4
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1], rest
    return drawn


def test_the_tree_drawn_is_the_tree() -> None:
    """The module's docstring draws every error below its parent, with its reason, and the status and code it adds."""
    drawn = drawn_tree()
    assert set(drawn) == {error.__name__ for error in ALL if error is not AuthError}
    for error in ALL:
        if error is AuthError:
            continue
        parent, rest = drawn[error.__name__]
        base = error.__mro__[1]
        assert parent == base.__name__
        assert issubclass(base, AuthError)
        words = rest.split()
        assert (error.reason in words) == (error is not Unavailable)
        assert (str(error.status) in words) or error.status == base.status
        if error.error is not None and error.error != base.error:
            assert {error.error, error.reason} & set(words)


def test_all_errors_are_in_the_tree() -> None:
    """No other module of the package defines an `AuthError`; a store may have kinds of `StoreUnavailable` inside."""
    parents = "|".join(error.__name__ for error in ALL if error is not errors.StoreUnavailable)
    child = re.compile(rf"^class \w+\((?:errors\.)?(?:{parents})\)", re.MULTILINE)
    package = Path(errors.__file__).parent
    assert [file.name for file in package.rglob("*.py") if child.search(file.read_text())] == ["errors.py"]


def test_reason_codes_are_stable_and_distinct() -> None:
    """Each error has a reason code of its own, fit for a label."""
    reasons = [error.reason for error in ALL]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[a-z_]+", reason) for reason in reasons)


@pytest.mark.parametrize("error", ALL)
def test_descriptions_may_stand_in_a_challenge(error: type[AuthError]) -> None:
    """What the client is told keeps to the characters of RFC 6750 section 3, and is the same for everyone."""
    assert re.fullmatch(r"[ !#-\[\]-~]+", error.description)
    assert raised(error, "alice's token").description == error.description


@pytest.mark.parametrize("error", ALL)
def test_the_status_follows_from_the_kind(error: type[AuthError]) -> None:
    """What a token or a login could mend is a 401; every other kind has its own status, and 503 its time to wait."""
    statuses = [status for parent, status in STATUSES.items() if issubclass(error, parent)]
    assert [error.status] == (statuses or [401])
    assert issubclass(error, InvalidToken) == (error.error == "invalid_token")
    assert issubclass(error, errors.InvalidGrant) == (error.error == "invalid_grant")
    assert (raised(error).retry_after is not None) == issubclass(error, (Unavailable, TooManyAttempts))
    challenges = issubclass(error, CHALLENGING) and not issubclass(error, OF_THE_BODY)
    assert error.challenges == (error is AuthError or challenges)


def test_no_token_has_no_error_code() -> None:
    """A request without credentials is told no error (RFC 6750 section 3.1)."""
    assert errors.MissingToken().error is None


@pytest.mark.parametrize("error", ALL)
def test_what_only_the_log_reads_is_kept_apart(error: type[AuthError]) -> None:
    """The detail shows in `str`, for the log, and never in the description."""
    told = raised(error, "kid 'x'")
    assert (told.detail, str(told)) == ("kid 'x'", "kid 'x'")
    assert (raised(error).detail, str(raised(error))) == (None, error.description)


@pytest.mark.parametrize("error", ALL)
def test_a_copy_keeps_the_detail(error: type[AuthError]) -> None:
    """A copy is of the same kind and says the same."""
    copied = copy.copy(raised(error, "kid 'x'"))
    assert (type(copied), copied.detail, str(copied)) == (error, "kid 'x'", "kid 'x'")


@pytest.mark.parametrize(("wait", "seconds"), [(30, 30), (29.01, 30), (0.2, 1), (0, 1), (-5, 1)])
def test_too_many_attempts_tells_how_long_to_wait(wait: float, seconds: int) -> None:
    """`retry_after` is whole seconds above zero, whatever a limiter reckons (RFC 9110 section 10.2.3)."""
    assert TooManyAttempts(wait).retry_after == seconds
    assert TooManyAttempts(retry_after=wait).retry_after == seconds


def test_too_little_names_the_scopes_that_are_needed() -> None:
    """`scope` tells the client what to ask for."""
    assert InsufficientScope(scope="a b").scope == "a b"
    assert InsufficientRole().scope == ""


def test_a_configuration_error_lists_its_faults() -> None:
    """All faults stand in the message, one a line, and apart in `faults`."""
    error = ConfigurationError(iter(["first", "second"]))
    assert error.faults == ("first", "second")
    assert str(error) == "asgi_jwt is not configured:\n  - first\n  - second"
    assert ConfigurationError("only").faults == ("only",)
    assert isinstance(error, ValueError)
