"""GET /asgi-jwt.js and /asgi-jwt-dpop.js: serves the browser client and its DPoP module."""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from asgi_jwt.http.conditional import client_has, entity_tag

MODULES = ("asgi-jwt.js", "asgi-jwt-dpop.js")


class BrowserClient:
    """Serves a JavaScript module of the package by its file name. The file is read once."""

    def __init__(self, name: str) -> None:
        self._module = files("asgi_jwt").joinpath("client", name).read_bytes()
        self._tag = entity_tag(self._module)
        self._headers = {
            # The name of the file never changes, so a short life is what brings new versions to browsers.
            "Cache-Control": "public, max-age=600",
            "Content-Type": "text/javascript; charset=utf-8",
            # Browsers load modules by CORS, which the host may grant. No other site has a reason to embed the file.
            "Cross-Origin-Resource-Policy": "same-origin",
            "ETag": self._tag,
            "X-Content-Type-Options": "nosniff",
        }

    async def get(self, request: Request) -> Response:
        """The module, or a 304 for a client that has it."""
        if client_has(request, self._tag):
            return Response(status_code=304, headers=self._headers)
        if request.method == "HEAD":
            return Response(headers={**self._headers, "Content-Length": str(len(self._module))})
        return Response(self._module, headers=self._headers)
