"""The names of `support.app` for tests that still import them from here."""

from support.app import AUDIENCE as AUDIENCE
from support.app import CONNECT as CONNECT
from support.app import ISSUER as ISSUER
from support.app import NO_TOKEN as NO_TOKEN
from support.app import SECRET as SECRET
from support.app import Answer as Answer
from support.app import Guarded as Guarded
from support.app import Recorder as Recorder
from support.app import authorization as bearer
from support.app import exchange as exchange
from support.app import http_scope as http_scope
from support.app import make_auth as make_auth
from support.app import make_token as make_token
from support.app import websocket_scope as websocket_scope

__all__ = ["bearer"]
