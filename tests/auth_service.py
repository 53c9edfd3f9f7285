"""The names of `support.app` for tests that still import them from here."""

from support.app import AUDIENCE as AUDIENCE
from support.app import COOKIE as COOKIE
from support.app import HOST as HOST
from support.app import ISSUER as ISSUER
from support.app import NOW as NOW
from support.app import PASSWORDS as PASSWORDS
from support.app import REFRESH_SECRET as REFRESH_SECRET
from support.app import SECRET as SECRET
from support.app import Answer as Answer
from support.app import Browser as Browser
from support.app import Service as Service
from support.app import WatchedStore as WatchedStore
from support.app import ask as ask
from support.app import authenticate as authenticate
from support.app import bearer as bearer
from support.app import cookie as cookie
from support.app import credentials as credentials
from support.app import every_store as every_store
from support.app import form_body as form_body
from support.app import json_body as json_body
from support.app import payload as payload
