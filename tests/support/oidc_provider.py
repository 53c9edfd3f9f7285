"""An OpenID provider that others wrote: oidc-provider from npm, in a process of its own."""

import json
import subprocess
from typing import Any

import httpx2
from support.outside import NPM, npm_package, program
from support.waiting import PATIENCE

MACHINE = ("machine", "known-to-this-machine")


class OidcProvider:
    """oidc-provider in a process of its own. What `publish` says holds from then on."""

    RESOURCE = "https://api.example"

    def __init__(self) -> None:
        npm_package("oidc-provider")
        self._process = subprocess.Popen(
            [program("node"), NPM / "provider.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.issuer: str = self._ask()["issuer"]

    def publish(self, *keys: tuple[str, str], sign: tuple[str, str] | None = None) -> None:
        """These are the keys, each a `kid` and its algorithm; `sign`, else the first of them, signs tokens."""
        named = [{"kid": kid, "alg": alg} for kid, alg in keys]
        kid, alg = sign or keys[0]
        self._ask(keys=named, sign={"kid": kid, "alg": alg})

    def count(self, path: str = "/jwks") -> int:
        """How many requests for `path` there were."""
        count: int = self._ask()["requests"].get(path, 0)
        return count

    def token(self) -> str:
        """An access token for the resource, as a client gets it for itself (RFC 6749 section 4.4, RFC 8707)."""
        asked = {"grant_type": "client_credentials", "resource": self.RESOURCE, "scope": "orders:read"}
        answer = httpx2.post(f"{self.issuer}/token", data=asked, auth=MACHINE, timeout=PATIENCE, trust_env=False)
        token: str = answer.json()["access_token"]
        return token

    def log_out(self, subject: str, url: str) -> None:
        """Have the client `machine` told at `url`, in the provider's own way, that the subject has logged out."""
        self._ask(logout={"sub": subject, "url": url})

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
