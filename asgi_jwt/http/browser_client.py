"""GET /asgi-jwt.js: the browser client."""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from asgi_jwt.http.conditional import entity_tag, has_it


class BrowserClient:
    """Serves the module of the package, read once."""

    def __init__(self) -> None:
        self._module = files("asgi_jwt").joinpath("client", "asgi-jwt.js").read_bytes()
        self._tag = entity_tag(self._module)
        self._headers = {
            # Asked for again soon: its mends have to arrive, and no name changes with them.
            "Cache-Control": "public, max-age=600",
            "Content-Type": "text/javascript; charset=utf-8",
            # Modules are loaded with CORS, which is the host's to grant: nothing else has to embed it.
            "Cross-Origin-Resource-Policy": "same-origin",
            "ETag": self._tag,
            "X-Content-Type-Options": "nosniff",
        }

    async def get(self, request: Request) -> Response:
        """The module, or 304 for who has it."""
        if has_it(request, self._tag):
            return Response(status_code=304, headers=self._headers)
        if request.method == "HEAD":
            return Response(headers={**self._headers, "Content-Length": str(len(self._module))})
        return Response(self._module, headers=self._headers)
