"""GET /asgi-jwt.js and /asgi-jwt-dpop.js: the browser client as AuthApp serves it."""

from pathlib import Path

import pytest
from support.app import Service

import asgi_jwt

CLIENT = Path(asgi_jwt.__file__).parent / "client"


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["asgi-jwt.js", "asgi-jwt-dpop.js"])
async def test_the_module_of_the_package(name: str) -> None:
    """The module is served as it stands in the package, as what a browser takes for a module and nothing else."""
    answer, module = await Service().get(f"/{name}"), (CLIENT / name).read_bytes()
    assert (answer.status, answer.body) == (200, module)
    expected = {
        "content-type": "text/javascript; charset=utf-8",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "content-length": str(len(module)),
    }
    assert expected.items() <= answer.headers.items()
