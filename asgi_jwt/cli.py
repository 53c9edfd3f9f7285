"""The command `asgi-jwt`, also `python -m asgi_jwt`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence

from asgi_jwt.demo.server import DemoError, run_demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command in `arguments` (None: the process's) and returns its exit status."""
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except DemoError as fault:
        sys.stderr.write(f"asgi-jwt: {fault}\n")
        return 1
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="asgi-jwt", description="Verified Bearer tokens for any ASGI app.")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    demo = commands.add_parser("demo", help="serve a page on this machine that shows everything live")
    demo.add_argument("--port", default=8000, type=_port, help="0 for any free one (default: %(default)s)")
    demo.add_argument("--open", action="store_true", help="open the page in the browser")
    demo.set_defaults(run=_demo)
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _demo(given: Namespace) -> None:
    run_demo(given.port, _write, browse=given.open)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
