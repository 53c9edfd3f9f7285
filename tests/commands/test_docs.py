"""`asgi-jwt docs`: the pages of the installed package, listed, printed and searched."""

import pytest
from support.command_line import CommandLine
from support.pages import DOCS, PAGES


def test_every_page_is_listed(asgi_jwt: CommandLine) -> None:
    """Without a page all pages are listed by name, each with what it is for, on one line."""
    told = asgi_jwt("docs")
    lines = told.out.splitlines()
    assert (told.status, told.err) == (0, "")
    assert [line.split()[0] for line in lines[: len(PAGES)]] == [path.stem for path in PAGES]
    assert all(len(line) < 140 for line in lines)


def test_a_page_is_printed(asgi_jwt: CommandLine) -> None:
    """A page is printed as it stands in the package."""
    told = asgi_jwt("docs", "rotation")
    assert (told.status, told.out, told.err) == (0, (DOCS / "rotation.md").read_text(encoding="utf-8"), "")


@pytest.mark.parametrize("page", ["rotations", "../docs/rotation", "pictures", "\x1b[31m"])
def test_a_page_that_does_not_exist(asgi_jwt: CommandLine, page: str) -> None:
    """Another name is wrong usage, and the answer lists the pages."""
    told = asgi_jwt("docs", page)
    assert (told.status, told.out) == (2, "")
    assert all(path.stem in told.err for path in PAGES)
    assert "\x1b" not in told.err


def test_a_search_names_page_and_heading(asgi_jwt: CommandLine) -> None:
    """A search finds the headings that have all of the words under them, in any case and order."""
    everywhere = asgi_jwt("docs", "--search", "EVERYWHERE log out").out.splitlines()
    assert "revocation: Revocation" in everywhere
    assert asgi_jwt("docs", "revocation", "--search", "log out everywhere").out == "revocation: Revocation\n"


def test_a_search_puts_headings_first(asgi_jwt: CommandLine) -> None:
    """Headings that hold the words come before those that only have them in their text."""
    found = asgi_jwt("docs", "--search", "rotate", "keys").out.splitlines()
    assert found[0] == "keys: Rotate keys"
    assert len(found) > 3


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("throttle", "login: Throttling"),
        ("throttles", "login: Throttling"),
        ("two-workers", "servers-and-proxies: Servers"),
    ],
)
def test_a_search_knows_endings(asgi_jwt: CommandLine, words: str, first: str) -> None:
    """A word finds its other forms, and a hyphen parts words."""
    assert asgi_jwt("docs", "--search", words).out.splitlines()[0] == first


def test_a_search_over_several_headings(asgi_jwt: CommandLine) -> None:
    """Where no heading has all of the words under it, the pages that have them are named."""
    assert "stores" in asgi_jwt("docs", "--search", "sentinel conformance").out.splitlines()


def test_a_search_reads_no_comment_as_a_heading(asgi_jwt: CommandLine) -> None:
    """A `#` in an example begins no section."""
    assert "main.py" not in asgi_jwt("docs", "--search", "main.py").out


def test_a_search_that_finds_nothing(asgi_jwt: CommandLine) -> None:
    """Words that stand nowhere together end with 1, and a sentence."""
    told = asgi_jwt("docs", "--search", "xyzzy plugh")
    assert (told.status, told.out) == (1, "")
    assert "try fewer words" in told.err
