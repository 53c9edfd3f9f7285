"""The URLs of the app of djangorestframework-simplejwt in peers.py."""

from typing import Any

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer, TokenRefreshSerializer
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView


def _named(tokens: dict[str, str]) -> dict[str, str]:
    return {f"{name}_token": token for name, token in tokens.items()}


class Login(TokenObtainPairSerializer):
    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        return _named(super().validate(attrs))


class Refresh(TokenRefreshSerializer):
    def to_internal_value(self, data: dict[str, Any]) -> Any:
        return super().to_internal_value({"refresh": data.get("refresh_token")})

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        return _named(super().validate(attrs))


class Me(APIView):
    def get(self, request: Request) -> Response:
        return Response({"subject": request.user.get_username()})


urlpatterns = [
    path("auth/login", TokenObtainPairView.as_view(serializer_class=Login)),
    path("auth/bare/login", TokenObtainPairView.as_view()),
    path("auth/token", TokenRefreshView.as_view(serializer_class=Refresh)),
    path("api/me", Me.as_view()),
]
