"""Views of Django and of REST framework, written as their documentation writes them."""

from typing import Any, cast

from django.contrib.auth.context_processors import PermWrapper
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from rest_framework.permissions import AllowAny, BasePermission, DjangoModelPermissions, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from asgi_jwt import require
from asgi_jwt.django import JWTAuthentication, TokenRequest
from asgi_jwt.errors import TooManyAttempts


def me(request: TokenRequest) -> HttpResponse:
    user = request.user
    told = {"pk": user.pk, "name": str(user), "active": user.is_active, "anonymous": user.is_anonymous}
    subject = request.claims.subject if request.claims else None
    return JsonResponse({**told, "known": user.is_authenticated, "claims": subject})


async def ame(request: TokenRequest) -> HttpResponse:
    user = await request.auser()
    return JsonResponse({"pk": user.pk})


def orders(request: TokenRequest) -> HttpResponse:
    user = require("orders:read")(request)
    return HttpResponse(user.subject)


@permission_required("auth.view_group", raise_exception=True)
def groups(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@permission_required("auth.view_group", raise_exception=True)
async def agroups(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def permissions(request: HttpRequest) -> HttpResponse:
    wrapped = PermWrapper(request.user)  # `perms` of a template
    return JsonResponse([bool(wrapped["auth"]), bool(wrapped["auth"]["view_group"])], safe=False)


class ModelTasks(APIView):
    authentication_classes = (JWTAuthentication,)
    permission_classes = (DjangoModelPermissions,)

    def get_queryset(self) -> Any:
        return Group.objects.none()

    def get(self, request: Request) -> Response:
        return Response()

    post = get


def busy(request: HttpRequest) -> HttpResponse:
    raise TooManyAttempts(7)


def broken(request: HttpRequest) -> HttpResponse:
    raise LookupError("a fault of the view")


class Reads(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return "tasks:read" in getattr(request.auth, "scopes", ())


class Tasks(APIView):
    authentication_classes = (JWTAuthentication,)

    def get_permissions(self) -> list[BasePermission]:
        return [Reads()] if self.request.method == "POST" else [IsAuthenticated()]

    def get(self, request: Request) -> Response:
        return Response({"user": request.user.pk})

    def post(self, request: Request) -> Response:
        return Response({"token": getattr(request.auth, "subject", None)})

    def delete(self, request: Request) -> Response:
        inner = cast("TokenRequest", request._request)
        return Response(require("tasks:write")(inner).subject)


class Open(APIView):
    authentication_classes = (JWTAuthentication,)
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        return Response({"user": str(request.user)})


urlpatterns = [
    path("me", me),
    path("ame", ame),
    path("health", me),
    path("orders", orders),
    path("groups", groups),
    path("agroups", agroups),
    path("permissions", permissions),
    path("model-tasks", ModelTasks.as_view()),
    path("busy", busy),
    path("broken", broken),
    path("tasks", Tasks.as_view()),
    path("open", Open.as_view()),
]
