"""Each framework under each server: an app by its own idioms, over HTTP and WebSocket."""

import pytest
from servers.matrix import FRAMEWORKS, SERVERS, cell
from support.pages import DOCS, section_of

pytestmark = pytest.mark.outside


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_matrix(framework: str, server: str) -> None:
    """A good token passes; none, a bad one and too little are answered as the documentation's table says."""
    head, *rows = section_of(DOCS / "servers-and-proxies.md", "Frameworks and servers").table
    documented = {(row[0], name): told for row in rows for name, told in zip(head[1:], row[1:], strict=True)}
    assert documented.keys() == {(one, other) for one in FRAMEWORKS for other in SERVERS}
    assert cell(framework, server) == documented[framework, server]
