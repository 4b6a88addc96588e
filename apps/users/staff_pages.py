"""Staff pages about one's own account: the password, and the second factor."""

from typing import Any

import qrcode
from django.contrib import admin, messages
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from qrcode.image.svg import SvgPathImage

from apps.users import second_factor
from apps.users.interface import WrongCredentials
from apps.users.models import User
from apps.users.staff_forms import CodeForm, OwnPasswordForm, PasswordForm

PAGE = "second_factor"


def change_own_password(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
    """Django's page with a form of ours, for which the site has no setting."""
    context = {**admin.site.each_context(request), **(extra_context or {})}
    page = PasswordChangeView.as_view(
        form_class=OwnPasswordForm, success_url=reverse_lazy("admin:password_change_done"), extra_context=context
    )
    return page(request)


@never_cache
def second_factor_page(request: HttpRequest) -> HttpResponse:
    """Turns the second factor of whoever looks at it on and off."""
    user = User.objects.get(pk=request.user.pk or "")
    do = {"begin": _begin, "confirm": _confirm, "turn_off": _turn_off}.get(request.POST.get("do", ""))
    if do is not None:
        return do(request, user)
    if second_factor.is_on(user):
        return _show(request, form=PasswordForm(), codes_left=second_factor.recovery_codes_left(user))
    return _show(request)


def _begin(request: HttpRequest, user: User) -> HttpResponse:
    if second_factor.is_on(user):
        return redirect(PAGE)
    return _show_secret(request, user, CodeForm())


def _confirm(request: HttpRequest, user: User) -> HttpResponse:
    if second_factor.is_on(user):
        return redirect(PAGE)
    form = CodeForm(request.POST)
    if form.is_valid() and (codes := second_factor.confirm(user, form.cleaned_data["code"])):
        return _show(request, recovery_codes=codes)
    if form.is_valid():
        form.add_error("code", _("This is not the code that the app shows now. Wait for the next one, and enter it."))
    return _show_secret(request, user, form)


def _turn_off(request: HttpRequest, user: User) -> HttpResponse:
    form = PasswordForm(request.POST)
    if form.is_valid():
        try:
            second_factor.turn_off_by(user, form.cleaned_data["password"])
        except WrongCredentials:
            form.add_error("password", _("The password is wrong."))
        else:
            messages.success(request, _("The second factor is off. Logging in takes the password alone."))
            return redirect(PAGE)
    return _show(request, form=form, codes_left=second_factor.recovery_codes_left(user))


def _show_secret(request: HttpRequest, user: User, form: CodeForm) -> HttpResponse:
    enrolment = second_factor.begin(user)
    image = qrcode.make(enrolment.address, image_factory=SvgPathImage, border=2)
    drawn = mark_safe(image.to_string(encoding="unicode"))  # noqa: S308 - drawn by us: paths, and no text
    secret = " ".join(enrolment.secret[place : place + 4] for place in range(0, len(enrolment.secret), 4))
    return _show(request, form=form, picture=drawn, secret=secret)


def _show(request: HttpRequest, **more: Any) -> HttpResponse:  # noqa: ANN401 - what the template takes
    context = {**admin.site.each_context(request), "title": _("Second factor"), **more}
    return render(request, "admin/users/second_factor.html", context)
