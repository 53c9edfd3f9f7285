"""Django, set up once in a process; `override_settings` makes it the project of a test."""

import django
from django.conf import settings


def set_up() -> None:
    if not settings.configured:
        settings.configure(
            SECRET_KEY="unused",
            ALLOWED_HOSTS=["*"],
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
            MIDDLEWARE=[],
            LOGGING_CONFIG=None,
            REST_FRAMEWORK={"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]},
        )
        django.setup()
