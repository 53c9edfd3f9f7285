"""Each framework under each server: an app by its own idioms, over HTTP and WebSocket."""

import pytest
from servers.matrix import FRAMEWORKS, SERVERS, cell

pytestmark = pytest.mark.outside


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_matrix(framework: str, server: str) -> None:
    """A good token passes; none, a bad one and too little are answered alike, with the challenge.

    Daphne has no `websocket.http.response`: there a denied handshake is a bare 403.
    """
    assert cell(framework, server) == ("bare 403" if server == "daphne" else "ok")
