"""Accounts: opening one, coming in and going out, and what links in mails lead to."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.storefront.api import Refused
from apps.storefront.forms import ForgottenForm, Form, LogInForm, NewPasswordForm, RegisterForm
from apps.storefront.pages import Shopper, page, safe_next, show
from apps.storefront.sentences import sentence, write_beside

_ASKED_AND_SENT = ["GET", "HEAD", "POST"]
_SAID_BESIDE = {400, 401, 409, 429}


@require_http_methods(_ASKED_AND_SENT)
@page
def register(request: Shopper) -> HttpResponse:
    """Open an account, and be logged in."""
    form = RegisterForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            request.visitor.api.post("users/register", dict(given))
            request.visitor.log_in(given["email"], given["password"])
        except Refused as refusal:
            _say_beside(form, refusal)
        else:
            messages.success(request, _("Welcome. Your account is open."))
            return redirect(safe_next(request))
    return _page(request, "register.html", form)


@require_http_methods(_ASKED_AND_SENT)
@page
def log_in(request: Shopper) -> HttpResponse:
    """Come in, and go on where the visitor was."""
    form = LogInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            request.visitor.log_in(**form.cleaned_data)
        except Refused as refusal:
            if refusal.has("otp_required"):
                form.ask_for_code()
            _say_beside(form, refusal)
        else:
            return redirect(safe_next(request))
    return _page(request, "login.html", form)


@require_POST
@page
def log_out(request: Shopper) -> HttpResponse:
    """Go out."""
    request.visitor.log_out()
    messages.success(request, _("You are logged out."))
    return redirect("storefront:home")


@require_http_methods(_ASKED_AND_SENT)
@page
def verify(request: Shopper) -> HttpResponse:
    """Confirm an e-mail address with the token that was sent there. By a button, as programs that look through mails
    follow links.
    """
    token = request.POST.get("token") or request.GET.get("token", "")
    if request.method == "POST":
        try:
            request.visitor.api.post("users/email/verify", {"token": token})
        except Refused as refusal:
            _only_known(refusal)
            return show(request, "verify.html", {"problem": _link_problem(refusal)}, 400)
        return show(request, "verify.html", {"is_done": True})
    return show(request, "verify.html", {"token": token})


@require_http_methods(_ASKED_AND_SENT)
@page
def reset(request: Shopper) -> HttpResponse:
    """Without a token, ask for one by mail; with one, choose a new password."""
    token = request.POST.get("token") or request.GET.get("token", "")
    return _choose(request, token) if token else _ask(request)


def _ask(request: Shopper) -> HttpResponse:
    form = ForgottenForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            request.visitor.api.post("users/password/reset", dict(form.cleaned_data))
        except Refused as refusal:
            _say_beside(form, refusal)
        else:
            # The same whether there is such an account or not.
            return show(request, "forgotten.html", {"is_sent": True})
    return _page(request, "forgotten.html", form)


def _choose(request: Shopper, token: str) -> HttpResponse:
    form = NewPasswordForm(request.POST or None)
    problem = ""
    if request.method == "POST" and form.is_valid():
        body = {"token": token, "password": form.cleaned_data["password"]}
        try:
            request.visitor.api.post("users/password/reset/confirm", body)
        except Refused as refusal:
            _only_known(refusal)
            if refusal.has("weak_password"):
                form.add_error("password", sentence(refusal.problems[0]))
            else:
                problem = _link_problem(refusal)
        else:
            messages.success(request, _("Your password is changed. Log in with the new one."))
            return redirect("storefront:login")
    context = {"form": form, "token": token, "problem": problem}
    return show(request, "reset.html", context, 400 if problem or form.errors else 200)


def _link_problem(refusal: Refused) -> str:
    """What is wrong with a link: whatever is, the visitor wants another."""
    if refusal.has("throttled") or refusal.has("already_verified"):
        return sentence(refusal.problems[0])
    return _("This link is not valid any more. Ask for a new one.")


def _say_beside(form: Form, refusal: Refused) -> None:
    _only_known(refusal)
    write_beside(form, refusal.problems)


def _only_known(refusal: Refused) -> None:
    if refusal.status not in _SAID_BESIDE:
        raise refusal


def _page(request: Shopper, template: str, form: Form) -> HttpResponse:
    return show(request, template, {"form": form, "next": safe_next(request)}, 400 if form.errors else 200)
