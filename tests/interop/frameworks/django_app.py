"""Django in one file, for both of its interfaces."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from passproxy.trusted import asgi, wsgi

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="for this test alone")


def user_of(request: HttpRequest) -> Any:
    scope = getattr(request, "scope", None)
    return scope["state"]["user"] if scope else request.environ[wsgi.IDENTITY]


def home(request: HttpRequest) -> HttpResponse:
    user = user_of(request)
    return JsonResponse({"user": user.user, "email": user.email, "groups": user.groups})


def admin(request: HttpRequest) -> HttpResponse:
    is_administrator = "administrator" in user_of(request).roles
    return JsonResponse({"administrator": user_of(request).user}, status=200 if is_administrator else 403)


urlpatterns = [path("", home), path("admin", admin)]
asgi_application = asgi.TrustedProxyMiddleware(get_asgi_application())
wsgi_application = wsgi.TrustedProxyMiddleware(get_wsgi_application())
