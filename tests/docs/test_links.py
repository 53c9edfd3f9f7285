"""Every link of the documentation leads somewhere, no page is too long, and all of them are in the wheel."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.pages import DOCS, PATHS, sections_of

SIZES = dict.fromkeys(PATHS, 15 * 1024)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", section.title) for section in sections_of(path))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_links(path: Path) -> None:
    """Each link to a file of the repository names one that is there, and each anchor a heading of its page."""
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            continue
        target = (path.parent / parts.path).resolve() if parts.path else path
        assert target.is_file(), link
        if parts.fragment:
            assert parts.fragment in anchors(target), link


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_sizes(path: Path) -> None:
    """A page is short enough to be read, and begins with a heading and what it is for."""
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) <= SIZES[path]
    if path.parent == DOCS:
        assert re.match(r"# .+\n\nThis page ", text)
