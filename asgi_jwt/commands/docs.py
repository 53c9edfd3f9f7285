"""`asgi-jwt docs`: the documentation of this version, from the installed package."""

import re
from collections.abc import Iterator, Sequence
from importlib.resources import files

from asgi_jwt.commands.output import CommandError, say, say_text, shortened, shown

_FENCE = "```"
_LINE = 100
"""How many characters of a page's purpose are listed."""


_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|e)$")
"""An ending that a word of a search may have and a page may lack: `throttle`, `throttling`, `throttles`."""


def show_docs(page: str | None, *, search: Sequence[str] | None) -> int:
    """Print the list of pages, or the page named `page`, or with `search` each heading that the words stand under.

    Raises `CommandError` for a page that does not exist, status 2, and for words that stand nowhere.
    """
    pages = _pages()
    if page is not None and page not in pages:
        raise CommandError(f"there is no page {shown(page)}: the pages are {', '.join(pages)}", status=2)
    if search is not None:
        _search(search, pages if page is None else {page: pages[page]})
    elif page is not None:
        say_text(pages[page])
    else:
        width = max(map(len, pages))
        for name, text in pages.items():
            say(f"{name:{width}}  {_purpose(text)}")
        say("")
        say("asgi-jwt docs PAGE prints a page, asgi-jwt docs --search WORDS finds words in all of them.")
    return 0


def _pages() -> dict[str, str]:
    found = (files("asgi_jwt") / "docs").iterdir()
    pages = sorted((each for each in found if each.name.endswith(".md")), key=lambda each: each.name)
    return {each.name.removesuffix(".md"): each.read_text(encoding="utf-8") for each in pages}


def _purpose(text: str) -> str:
    """The first words of a page, which begins with what it is for."""
    return shortened(text.split("\n\n")[1].removeprefix("This page ").replace("\n", " "), _LINE)


def _search(words: Sequence[str], pages: dict[str, str]) -> None:
    """Print the headings that have all of the words under them, the best first; else the pages that have them all."""
    wanted = [_ENDING.sub("", word) for word in re.split(r"[\s-]+", " ".join(words).casefold().strip())]
    sections = {f"{name}: {heading}": text for name, page in pages.items() for heading, text in _sections(page)}
    hits = _having(wanted, sections) or _having(wanted, pages)
    if not hits:
        raise CommandError(f"no page has {shown(' '.join(words))}: try fewer words")
    for hit in hits:
        say(hit)


def _having(words: list[str], texts: dict[str, str]) -> list[str]:
    """The titles of the texts with all of the words: those with most of the words in the title come first."""
    found = {title: text.casefold() for title, text in texts.items() if all(word in text.casefold() for word in words)}

    def rank(title: str) -> tuple[int, float]:
        named = sum(word in title.casefold() for word in words)
        return -named, -sum(found[title].count(word) for word in words) / len(found[title])

    return sorted(found, key=rank)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Each heading with the text under it, the heading included; a `#` in a code block is none."""
    heading, lines, in_code = "", list[str](), False
    for line in text.splitlines():
        in_code ^= line.startswith(_FENCE)
        if line.startswith("#") and not in_code:
            if lines:
                yield heading, "\n".join(lines)
            heading, lines = line.lstrip("# "), []
        lines.append(line)
    yield heading, "\n".join(lines)
