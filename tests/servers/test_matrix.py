"""Each framework under each server: an app by its own idioms, over HTTP and WebSocket."""

import pytest
from servers.matrix import FRAMEWORKS, SERVERS, cell

pytestmark = pytest.mark.outside


KNOWN = {
    # Quart sends a denial's body in two parts; granian 2.8 then leaves its headers out.
    ("quart", "granian"): "WS: 101 alice, 401 challenge, 401 challenge, 403",
    # Quart reads the scheme of each WebSocket, which Daphne leaves out.
    ("quart", "daphne"): "WS: 500, 403, 403, 500",
}
"""Faults of others."""


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_matrix(framework: str, server: str) -> None:
    """A good token passes; none, a bad one and too little are answered alike, with the challenge.

    Daphne has no `websocket.http.response`: there a denied handshake is a bare 403.
    """
    expected = KNOWN.get((framework, server), "bare 403" if server == "daphne" else "ok")
    assert cell(framework, server) == expected
