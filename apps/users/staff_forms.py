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

from apps.users import passwords
from apps.users.interface import WrongCredentials
from apps.users.models import User, fold
from apps.users.services.proving import set_password

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


class SetPasswordForm(AdminPasswordChangeForm):  # type: ignore[misc] # the theme has no types
    """Somebody else's password, for an admin."""

    def save(self, commit: bool = True) -> User:  # noqa: ARG002, FBT001, FBT002 - Django's signature
        user: User = self.user
        has_one = self.cleaned_data.get("set_usable_password", True)
        set_password(user.pk, self.cleaned_data["password1"] if has_one else None)
        user.refresh_from_db()
        return user


class OwnPasswordForm(AdminOwnPasswordChangeForm):  # type: ignore[misc] # as above
    """One's own password, for one who knows the old one: guesses at that count as failed log-ins."""

    def clean_old_password(self) -> str:
        old = str(self.cleaned_data["old_password"])
        try:
            passwords.confirm(self.user, old, "old_password")
        except WrongCredentials as error:
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect") from error
        return old

    def save(self, commit: bool = True) -> User:  # noqa: ARG002, FBT001, FBT002 - Django's signature
        user: User = self.user
        set_password(user.pk, self.cleaned_data["new_password1"])
        user.refresh_from_db()
        return user


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
