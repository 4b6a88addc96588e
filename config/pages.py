"""Pages for people that belong to no app: the landing page, and the log-in of the browsable API."""

from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from config import problems
from config.views import only_read


@only_read
def landing(request: HttpRequest) -> HttpResponse:
    """Says where everything is; in development also how to try it."""
    base = request.build_absolute_uri("/").rstrip("/")
    context = {"debug": settings.DEBUG, "base": base, "grpc_port": settings.GRPC_PORT}
    return render(request, "landing.html", context)


@only_read
def error_codes(request: HttpRequest) -> HttpResponse:
    """Says what each refusal of the API means, and what to do."""
    return render(request, "problems.html", {"entries": problems.entries()})


class LogInView(LoginView):
    """The log-in of the browsable API."""

    template_name = "rest_framework/login.html"

    def get_form(self, form_class: type[AuthenticationForm] | None = None) -> AuthenticationForm:
        form = super().get_form(form_class)
        form.fields["username"].label = "E-mail or username"
        return form
