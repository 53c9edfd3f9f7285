"""Apps of peers that speak as much of the protocol as they can: a login, refresh tokens in the body, and an API."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.app import PASSWORDS


def authx_app() -> Any:
    """authx, as its documentation has it."""
    from authx import AuthX, AuthXConfig, RequestToken, TokenPayload
    from fastapi import Body, Depends, FastAPI, HTTPException

    security = AuthX(AuthXConfig(JWT_SECRET_KEY="a secret of thirty-two bytes or more", JWT_TOKEN_LOCATION=["headers"]))
    app = FastAPI()
    security.handle_errors(app)

    @app.post("/auth/login")
    def login(username: str = Body(), password: str = Body()) -> dict[str, str]:
        if PASSWORDS.get(username) != password:
            raise HTTPException(401, "Bad username or password")
        return {
            "access_token": security.create_access_token(username),
            "refresh_token": security.create_refresh_token(username),
        }

    @app.post("/auth/token")
    def token(refresh_token: str = Body(embed=True)) -> dict[str, str]:
        payload = security.verify_token(
            RequestToken(token=refresh_token, type="refresh", location="json"), verify_type=True
        )
        return {
            "access_token": security.create_access_token(payload.sub),
            "refresh_token": security.create_refresh_token(payload.sub),
        }

    @app.get("/api/me")
    def me(payload: TokenPayload = Depends(security.access_token_required)) -> dict[str, str]:  # noqa: B008
        return {"subject": payload.sub}

    return app


def simplejwt_app() -> Any:
    """djangorestframework-simplejwt with rotation and its blacklist in a SQLite file, and OAuth's names of fields."""
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.management import call_command

    settings.configure(
        SECRET_KEY="a secret of thirty-two bytes or more",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="support.peers_urls",
        INSTALLED_APPS=[
            *("django.contrib.auth", "django.contrib.contenttypes", "rest_framework"),
            "rest_framework_simplejwt.token_blacklist",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["PEER_FILE"]}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        REST_FRAMEWORK={
            "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
            "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        },
        SIMPLE_JWT={"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True},
        USE_TZ=True,
    )
    django.setup()
    from django.contrib.auth.models import User

    def fill() -> None:
        call_command("migrate", verbosity=0)
        User.objects.create_user("alice", password=PASSWORDS["alice"])

    with ThreadPoolExecutor() as outside_the_event_loop:
        outside_the_event_loop.submit(fill).result()
    return get_asgi_application()
