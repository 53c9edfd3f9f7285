"""Firefox, driven by WebDriver BiDi: https://w3c.github.io/webdriver-bidi/."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.outside import program
from support.waiting import PATIENCE, wait_until
from websockets.sync.client import ClientConnection, connect

# It asks nobody for news of itself.
_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.update.enabled": False,
    "browser.startup.homepage": "about:blank",
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


class ScriptError(Exception):
    """A script of the test's was rejected or has thrown."""


class Firefox:
    """A browser with one empty profile."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._sent = 0
        self.command("session.new", capabilities={})

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers."""
        self._sent += 1
        self._connection.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(PATIENCE))
            if answer.get("id") == self._sent:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def tab(self, url: str) -> "Tab":
        """A tab at a page of a site, whose client knows who is logged in."""
        tab = Tab(self, self.command("browsingContext.create", type="tab")["context"])
        tab.goto(url)
        return tab


class Tab:
    """One of its tabs."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self._firefox = firefox
        self._context = context

    def goto(self, url: str) -> None:
        self._firefox.command("browsingContext.navigate", context=self._context, url=url, wait="complete")
        self.evaluate("auth.ready")

    def reload(self) -> None:
        self._firefox.command("browsingContext.reload", context=self._context, wait="complete")
        self.evaluate("auth.ready")

    def evaluate(self, script: str) -> Any:
        """What the script gives, awaited. Raises `ScriptError`."""
        ran = self._firefox.command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({script})))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        if ran["type"] == "exception":
            raise ScriptError(ran["exceptionDetails"]["text"])
        value = ran["result"].get("value")
        return None if value is None else json.loads(value)

    def wait_for(self, condition: str) -> None:
        """Until the script gives something true."""
        wait = f"""(async () => {{
            const end = performance.now() + {1000 * PATIENCE:.0f};
            while (performance.now() < end && !({condition})) await new Promise((later) => setTimeout(later, 10));
            return Boolean({condition});
        }})()"""
        assert self.evaluate(wait), condition


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """Debian's Firefox, without a window, its profile in `folder`."""
    preferences = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in _PREFERENCES.items()]
    (folder / "user.js").write_text("".join(preferences))
    command = [
        program("firefox-esr"),
        "--headless",
        "--no-remote",
        "--profile",
        str(folder),
        "--remote-debugging-port",
        "0",
    ]
    log = folder / "log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            with connect(f"{_listening(process, log)}/session", open_timeout=PATIENCE, max_size=None) as connection:
                yield Firefox(connection)
        finally:
            process.kill()


def _listening(process: "subprocess.Popen[bytes]", log: Path) -> str:
    address = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
    wait_until(lambda: process.poll() is not None or address.search(log.read_text()))
    if found := address.search(log.read_text()):
        return found[1]
    raise RuntimeError(log.read_text())
