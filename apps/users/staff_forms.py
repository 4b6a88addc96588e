"""Forms of the staff pages of accounts."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms import ModelForm
from django.utils.translation import gettext_lazy as _
from unfold.forms import (
    BASE_INPUT_CLASSES,
    AdminOwnPasswordChangeForm,
    AdminPasswordChangeForm,
    AuthenticationForm,
    UserCreationForm,
)

from apps.common.databases import atomic
from apps.users.models import User, fold
from apps.users.services.proving import end_all_sessions

PROFILE = ("username", "email", "first_name", "last_name", "phone", "address")
_TAKEN = {
    "username": _("Another account has this username."),
    "email": _("Another account has this e-mail address."),
}


class UniqueNames(ModelForm[User]):
    """Says beside the field which name is taken."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name, sentence in _TAKEN.items():
            others = User.objects.exclude(pk=self.instance.pk)
            if name in cleaned and others.filter(**{f"{name}_folded": fold(cleaned[name])}).exists():
                self.add_error(name, ValidationError(sentence, code="unique"))
        return cleaned


class UserChangeForm(UniqueNames):
    class Meta:
        model = User
        fields = [*PROFILE, "role", "active"]


class UserAddForm(UniqueNames, UserCreationForm):  # type: ignore[misc] # the theme has no types
    class Meta:
        model = User
        fields = ["username", "email", "role"]

    def clean_username(self) -> str:
        """Django's own asks without folding, and says it in other words."""
        return str(self.cleaned_data["username"])


class EndsSessions:
    """A form that sets a password. Whoever knew the old one may be the reason: the user's sessions end."""

    def save(self, commit: bool = True) -> User:  # noqa: FBT001, FBT002 - Django's signature
        with atomic("users"):
            user: User = super().save(commit)  # type: ignore[misc]  # the form's
            end_all_sessions(user.pk)
        return user


class SetPasswordForm(EndsSessions, AdminPasswordChangeForm):  # type: ignore[misc] # the theme has no types
    pass


class OwnPasswordForm(EndsSessions, AdminOwnPasswordChangeForm):  # type: ignore[misc] # as above
    pass


class StaffLogInForm(AuthenticationForm):  # type: ignore[misc] # as above
    """The log-in of the staff pages. Whether an account has a second factor is not told before the password is right;
    so the field for its code is always there.
    """

    otp = forms.CharField(
        label=_("One-time code"),
        help_text=_("If you have turned a second factor on: the code in your app, or a recovery code."),
        required=False,
        max_length=32,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autocapitalize": "off", "class": " ".join(BASE_INPUT_CLASSES)}
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in Django
        super().__init__(*args, **kwargs)
        self.fields["username"].label = _("E-mail or username")

    def get_invalid_login_error(self) -> ValidationError:
        if getattr(self.request, "needs_otp", False):
            sentence = _("Enter your password again, and the code that your app shows now. Each code works once.")
            return ValidationError(sentence, code="otp_required")
        error: ValidationError = super().get_invalid_login_error()
        return error


class CodeForm(forms.Form):
    """The first code, which shows that the app has the secret."""

    code = forms.CharField(
        label=_("Code"),
        max_length=10,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "class": " ".join(BASE_INPUT_CLASSES)}
        ),
    )


class PasswordForm(forms.Form):
    """The password, before something is taken away that protects the account."""

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "class": " ".join(BASE_INPUT_CLASSES)}),
    )
