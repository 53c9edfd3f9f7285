"""What can go wrong, and what each party is told of it."""

import copy
import inspect
import re

import pytest

from asgi_jwt import errors
from asgi_jwt.errors import (
    AuthError,
    ConfigurationError,
    InsufficientRole,
    InsufficientScope,
    InvalidToken,
    Unavailable,
)

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, AuthError)]


def test_the_tree_drawn_is_the_tree() -> None:
    """The module's docstring draws every error with its reason code, and the status where it differs."""
    assert errors.__doc__ is not None
    drawn = dict(re.findall(r"[├└]── (\w+) .*?(\w+)$", errors.__doc__, re.MULTILINE))
    assert drawn == {error.__name__: error.reason for error in ALL if error not in (AuthError, Unavailable)} | {
        "Unavailable": "temporarily_unavailable"
    }


def test_reason_codes_are_stable_and_distinct() -> None:
    """Each error has a reason code of its own, fit for a label."""
    reasons = [error.reason for error in ALL]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[a-z_]+", reason) for reason in reasons)


@pytest.mark.parametrize("error", ALL)
def test_descriptions_may_stand_in_a_challenge(error: type[AuthError]) -> None:
    """What the client is told keeps to the characters of RFC 6750 section 3, and is the same for everyone."""
    assert re.fullmatch(r"[ !#-\[\]-~]+", error.description)
    assert error("alice's token").description == error.description


@pytest.mark.parametrize("error", ALL)
def test_the_status_follows_from_the_kind(error: type[AuthError]) -> None:
    """An invalid token is a 401, too little a 403, a malformed request a 400, and what we lack a 503."""
    expected = 401
    for parent, status in (
        (errors.InvalidRequest, 400),
        (InsufficientScope, 403),
        (errors.CrossSite, 403),
        (Unavailable, 503),
    ):
        if issubclass(error, parent):
            expected = status
    assert error.status == expected
    assert issubclass(error, InvalidToken) == (error.error == "invalid_token")
    assert (error.retry_after is not None) == issubclass(error, Unavailable)
    assert error.challenges != issubclass(error, (Unavailable, errors.CrossSite))


def test_no_token_has_no_error_code() -> None:
    """A request without credentials is told no error (RFC 6750 section 3.1)."""
    assert errors.MissingToken().error is None


@pytest.mark.parametrize("error", ALL)
def test_what_only_the_log_reads_is_kept_apart(error: type[AuthError]) -> None:
    """The detail shows in `str`, for the log, and never in the description; a copy keeps it."""
    told = error("kid 'x'")
    assert (told.detail, str(told)) == ("kid 'x'", "kid 'x'")
    assert (error().detail, str(error())) == (None, error.description)
    copied = copy.copy(told)
    assert (type(copied), copied.detail) == (error, "kid 'x'")


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
