"""GET /asgi-jwt.js: the browser client."""

from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response


class BrowserClient:
    """Serves the module of the package, read once."""

    def __init__(self) -> None:
        self._module = files("asgi_jwt").joinpath("client", "asgi-jwt.js").read_bytes()
        self._tag = f'"{sha256(self._module).hexdigest()[:32]}"'
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
        """The module, or 304 for who has it: RFC 9110 section 13.1.2."""
        if self._is_known(request.headers.getlist("if-none-match")):
            return Response(status_code=304, headers=self._headers)
        if request.method == "HEAD":
            return Response(headers={**self._headers, "Content-Length": str(len(self._module))})
        return Response(self._module, headers=self._headers)

    def _is_known(self, tags: list[str]) -> bool:
        # What compresses on the way makes a tag weak, and the comparison is.
        given = {tag.strip().removeprefix("W/") for line in tags for tag in line.split(",")}
        return bool(given & {self._tag, "*"})
