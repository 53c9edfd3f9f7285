"""What a finding looks like."""

from asgi_jwt.commands.findings import ok, problem, warning


def test_a_finding_is_a_line() -> None:
    """Its level, what it is about, what was found, and what to do where something is."""
    assert str(ok("store", "is well")) == "ok       store: is well"
    assert str(warning("clock", "is off", "set it")) == "warning  clock: is off: set it"
    assert str(problem("settings", "ASGI_JWT_ISSUER is missing")) == "problem  settings: ASGI_JWT_ISSUER is missing"
