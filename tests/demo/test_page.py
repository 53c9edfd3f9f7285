"""The demo's page as it is served."""

import re
from html.parser import HTMLParser

import pytest
from support.demo import Demo
from support.pages import README, ROOT

from asgi_jwt.demo.page import FILES, HEADERS, POLICY, TYPES

SCRIPTS = sorted(path.name for path in FILES.iterdir() if path.name.endswith(".js"))
LOADED = {"/", "/demo/style.css", "/demo/icon.svg", *(f"/demo/{name}" for name in SCRIPTS)}


class Markup(HTMLParser):
    """What a page refers to, and what of it a strict policy would not run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: set[str] = set()
        self.inline: list[str] = []
        self.ids: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._within = tag
        for name, value in attributes:
            if name in ("src", "href", "action") and value:
                self.references.add(value)
            if name == "id" and value:
                self.ids.append(value)
            if name == "style" or name.startswith("on"):
                self.inline.append(name)

    def handle_data(self, text: str) -> None:
        if self._within in ("script", "style") and text.strip():
            self.inline.append(text)


def test_policy() -> None:
    """Nothing is allowed but the demo's own files, and none of it in a frame, inline, or by a base elsewhere."""
    policy = dict(directive.split(" ", 1) for directive in POLICY.split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src", "form-action")} == {"'self'"}
    assert "unsafe" not in POLICY


@pytest.mark.parametrize("path", [*sorted(LOADED), "/auth/asgi-jwt.js", "/api/me", "/nowhere", "/demo/about"])
def test_headers(demo: Demo, path: str) -> None:
    """Every answer bears the page's headers once each, refusals too."""
    answer = demo.client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers.get_list(name) == [value]


def test_headers_of_a_refused_host(demo: Demo) -> None:
    """What is refused for its Host bears them as well."""
    assert demo.client.get("/", headers={"Host": "attacker.example"}).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", sorted(LOADED))
def test_files(demo: Demo, path: str) -> None:
    """Each file is served as what it is, without a token."""
    answer = demo.client.get(path)
    assert answer.status_code == 200
    suffix = "." + path.rpartition(".")[2] if path != "/" else ".html"
    assert answer.headers["content-type"].startswith(TYPES[suffix])


def test_page(demo: Demo) -> None:
    """The page refers to nothing but what the demo serves, and has nothing inline that the policy would refuse."""
    page = Markup(demo.client.get("/").text)
    assert page.inline == []
    assert len(page.ids) == len(set(page.ids))
    assert page.references - {"#story-title", "/auth/login"} <= LOADED


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(demo: Demo, name: str) -> None:
    """A script imports what is served, refers to what the page has, and makes no markup and no code of strings."""
    text = demo.client.get(f"/demo/{name}").text
    for module in re.findall(r'from "(.+)"', text):
        assert demo.client.get(module if module.startswith("/") else f"/demo/{module}").status_code == 200
    ids = set(re.findall(r'(?:\$|button)\("(\w+)"', text))
    assert ids <= set(Markup(demo.client.get("/").text).ids)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bFunction\(", text)


@pytest.mark.parametrize(
    "path", ["/demo/", "/demo/../app.py", "/demo/%2e%2e/app.py", "/demo/index.html", "/demo/app.py"]
)
def test_nothing_else_is_served(demo: Demo, path: str) -> None:
    """What is no file of the page's is not there, however it is written."""
    assert demo.client.get(path).status_code in (401, 404)


def test_screenshot() -> None:
    """The picture of the page in the README is there, small, described, and no part of what is installed."""
    ((text, path),) = re.findall(r"!\[(.*)\]\((tests/demo/.*)\)", README.read_text(encoding="utf-8"))
    assert len(text) > 20
    content = (ROOT / path).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 150_000
