"""The command `asgi-jwt`, also `python -m asgi_jwt`."""

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from asgi_jwt import __version__
from asgi_jwt.commands.check import check
from asgi_jwt.commands.docs import show_docs
from asgi_jwt.commands.drill import drill
from asgi_jwt.commands.inspect import STDIN, inspect_token
from asgi_jwt.commands.keys import OVERLAP, make_keys, rotate_keys
from asgi_jwt.commands.output import CommandError, complain, say_text
from asgi_jwt.commands.sessions import list_sessions, revoke_sessions
from asgi_jwt.commands.token import make_token
from asgi_jwt.demo.server import DemoError, run_demo
from asgi_jwt.errors import AuthError, ConfigurationError
from asgi_jwt.events import printable
from asgi_jwt.settings import values
from asgi_jwt.tokens.algorithms import ALGORITHMS

Clock = Callable[[], float]

_INTERRUPTED = 130
_YEAR = 366 * 86400


def main(arguments: Sequence[str] | None = None, *, clock: Clock = time.time) -> int:
    """Run the command in `arguments`, and return its exit status. None: the arguments of the process.

    The status is 0 for success, 1 for a problem or a token that would be refused, and 2 for wrong usage. `clock`
    returns seconds since the epoch.
    """
    parser, words = _parser(clock), sys.argv[1:] if arguments is None else arguments
    if not words:
        parser.print_help(sys.stderr)
        return 2
    given = vars(parser.parse_args(words))
    run: Callable[..., int] = given.pop("run")
    try:
        return run(**given)
    except ConfigurationError as error:
        for fault in error.faults:
            complain(fault)
        return 1
    except CommandError as error:
        if message := str(error):
            complain(message)
        return error.status
    except (DemoError, AuthError) as error:
        complain(str(error))
        return 1
    except OSError as error:
        complain(error.strerror or type(error).__name__)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


class _Parser(ArgumentParser):
    """Escapes unprintable characters of arguments in errors, because a terminal obeys escape sequences."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def _parser(clock: Clock) -> ArgumentParser:
    """The parser. Its result has the function of the command, `run`, and the keyword arguments for `run`."""
    parser = _Parser(prog="asgi-jwt", description="Verified Bearer tokens for any ASGI app.")
    parser.add_argument("--version", action="version", version=f"asgi-jwt {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    _add_demo(_add(commands, "demo", "serve a page on this machine that shows everything live"))
    _add_check(_add(commands, "check", "show what is wrong with the setup, and how to mend it"), clock)
    _add_inspect(_add(commands, "inspect", "show whether a token would be accepted here, and why not"), clock)
    _add_token(_add(commands, "token", "make an access token with the configured private key"), clock)
    _add_keygen(_add(commands, "keygen", "make keys, as ASGI_JWT_* lines"))
    _add_keys(_add(commands, "keys", "give a key file a new key"), clock)
    _add_sessions(_add(commands, "sessions", "show and end the sessions of a subject"), clock)
    _add_drill(_add(commands, "drill", "try a running deployment from outside, as users and attackers would"), clock)
    _add_docs(_add(commands, "docs", "list the pages of the documentation, print one, or search them"))
    return parser


def _add(commands: Any, name: str, purpose: str) -> ArgumentParser:
    """The parser of a new command or action. `purpose` is shown in the list of commands and in the command's help."""
    added: ArgumentParser = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    return added


def _add_demo(demo: ArgumentParser) -> None:
    demo.add_argument("--port", default=8000, type=_port, help="the port; 0 takes any free one (default: %(default)s)")
    demo.add_argument("--open", action="store_true", dest="browse", help="open the page in the browser")
    demo.set_defaults(run=_demo)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _demo(port: int, browse: bool) -> int:
    run_demo(port, say_text, browse=browse)
    return 0


def _add_check(parser: ArgumentParser, clock: Clock) -> None:
    _add_json(parser)
    parser.add_argument("--sql", action="store_true", help="print the SQL of PostgreSQL's tables, and check nothing")
    parser.set_defaults(run=partial(check, clock=clock))


def _add_inspect(inspect: ArgumentParser, clock: Clock) -> None:
    inspect.add_argument(
        "token", nargs="?", default=STDIN, help="the token; - or nothing reads it from the standard input"
    )
    _add_json(inspect)
    inspect.set_defaults(run=partial(inspect_token, clock=clock))


def _add_token(token: ArgumentParser, clock: Clock) -> None:
    token.add_argument("subject", help="the id of the token's user")
    token.add_argument(
        "--scope",
        action="append",
        default=[],
        dest="scopes",
        metavar="SCOPE",
        help="a scope, or several with spaces; may be repeated",
    )
    token.add_argument(
        "--role", action="append", default=[], dest="roles", metavar="ROLE", help="a role; may be repeated"
    )
    token.add_argument(
        "--claim",
        action="append",
        default=[],
        type=_pair,
        dest="claims",
        metavar="NAME=VALUE",
        help="a further claim: JSON, else text; may be repeated",
    )
    token.add_argument(
        "--ttl",
        type=_duration(least=1, most=3600),
        help="how long the token is valid, as 15m (default: ASGI_JWT_ACCESS_TTL)",
    )
    token.add_argument("--client-id", help="the id of the token's OAuth client")
    _add_json(token)
    token.set_defaults(run=partial(make_token, clock=clock))


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON, for programs")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _duration(*, least: float = 0, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            return values.duration(least=least, most=most)(text)
        except ValueError as fault:
            raise ArgumentTypeError(str(fault)) from None

    return read


def _add_keygen(keygen: ArgumentParser) -> None:
    keygen.add_argument(
        "--alg",
        default="HS256",
        choices=ALGORITHMS,
        dest="algorithm",
        help="the algorithm of the key (default: %(default)s)",
    )
    keygen.add_argument(
        "--out", type=Path, dest="path", metavar="FILE", help="put the key into a new file, for ASGI_JWT_KEYS_FILE"
    )
    keygen.add_argument(
        "--refresh-out",
        type=Path,
        dest="refresh_path",
        metavar="FILE",
        help="put the secret of refresh tokens into a new file, for ASGI_JWT_REFRESH_SECRET_FILE",
    )
    _add_json(keygen)
    keygen.set_defaults(run=make_keys)


def _add_keys(keys: ArgumentParser, clock: Clock) -> None:
    actions = keys.add_subparsers(title="actions", metavar="action", required=True)
    rotate = _add(actions, "rotate", "add a new key that signs after an overlap; the old one ends with its tokens")
    rotate.add_argument(
        "path", type=Path, metavar="file", help="the file of ASGI_JWT_KEYS_FILE or ASGI_JWT_REFRESH_SECRET_FILE"
    )
    rotate.add_argument(
        "--alg", choices=ALGORITHMS, dest="algorithm", help="the algorithm of the new key (default: the old key's)"
    )
    rotate.add_argument(
        "--overlap",
        type=_duration(most=_YEAR),
        default=OVERLAP,
        help="how long the new key is only published, as 10m (default: %(default)s s); 0 after a theft",
    )
    rotate.add_argument(
        "--keep",
        type=_duration(most=_YEAR),
        help="how long the old key verifies after that (default: as long as its tokens live); 0 after a theft",
    )
    _add_json(rotate)
    rotate.set_defaults(run=partial(rotate_keys, clock=clock))


def _add_sessions(sessions: ArgumentParser, clock: Clock) -> None:
    actions = sessions.add_subparsers(title="actions", metavar="action", required=True)
    listing = _add(actions, "list", "show the subject's live sessions")
    listing.set_defaults(run=partial(list_sessions, clock=clock))
    revoke = _add(actions, "revoke", "end the subject's sessions, and revoke all its tokens")
    revoke.add_argument("--sid", help="end only the session with this id")
    revoke.set_defaults(run=partial(revoke_sessions, clock=clock))
    for action in (listing, revoke):
        action.add_argument("subject", help="the user's id")
        _add_json(action)


def _add_drill(parser: ArgumentParser, clock: Clock) -> None:
    parser.add_argument("url", help="the URL of AuthApp's mount, as https://api.example/auth")
    parser.add_argument("--api", required=True, metavar="PATH", help="a path that needs a token, as /api/me")
    parser.add_argument(
        "--login",
        required=True,
        nargs="+",
        type=_pair,
        metavar="NAME=VALUE",
        help="the fields of the login, as username=drill password=@FILE",
    )
    _add_json(parser)
    parser.set_defaults(run=partial(drill, clock=clock))


def _add_docs(docs: ArgumentParser) -> None:
    docs.add_argument("page", nargs="?", help="the page to print, as quickstart (default: list all pages)")
    docs.add_argument(
        "--search", metavar="WORD", nargs="+", help="print each page and heading that has all of the words"
    )
    docs.set_defaults(run=show_docs)
