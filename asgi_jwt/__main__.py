"""`python -m asgi_jwt`."""

import sys

from asgi_jwt.cli import main

sys.exit(main())
