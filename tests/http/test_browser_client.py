"""GET /asgi-jwt.js: the browser client as AuthApp serves it."""

from pathlib import Path

import pytest
from support.app import Service

import asgi_jwt

MODULE = (Path(asgi_jwt.__file__).parent / "client" / "asgi-jwt.js").read_bytes()


@pytest.mark.anyio
async def test_the_module_of_the_package() -> None:
    """The module is served as it stands in the package, as what a browser takes for a module and nothing else."""
    answer = await Service().get("/asgi-jwt.js")
    assert (answer.status, answer.body) == (200, MODULE)
    expected = {
        "content-type": "text/javascript; charset=utf-8",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "content-length": str(len(MODULE)),
    }
    assert expected.items() <= answer.headers.items()
