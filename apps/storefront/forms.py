"""What visitors fill in. The API decides what is right; the forms only say what there is."""

from collections.abc import Mapping, Sequence

from django import forms
from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrPromise

from apps.storefront.templatetags.storefront import method_name, money

# The sandbox's tokens → what they play.
CARDS: Mapping[str, tuple[str, Promise]] = {
    "tok_visa": ("Visa ···· 4242", _("Is charged")),
    "tok_3ds": ("Mastercard ···· 3155", _("Its bank asks for a confirmation (3-D Secure)")),
    "tok_declined": ("Visa ···· 0002", _("Is declined")),
    "tok_insufficient_funds": ("Visa ···· 9995", _("Has insufficient funds")),
    "tok_timeout": ("Amex ···· 0119", _("Its bank does not answer in time")),
}


class Form(forms.Form):
    """A form without the colon that Django puts behind labels."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})  # type: ignore[arg-type] # Django's own


def _text(label: StrPromise, autocomplete: str, *, most: int, is_needed: bool = True) -> forms.CharField:
    widget = forms.TextInput(attrs={"autocomplete": autocomplete})
    return forms.CharField(label=label, max_length=most, required=is_needed, widget=widget)


def _email() -> forms.EmailField:
    return forms.EmailField(
        label=_("E-mail address"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )


def _password(label: StrPromise, autocomplete: str, help_text: StrPromise | str = "") -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": autocomplete})
    return forms.CharField(label=label, max_length=128, strip=False, widget=widget, help_text=help_text)


_LENGTH = _("At least 8 characters.")


class LogInForm(Form):
    login = _text(_("E-mail address or name"), "username", most=254)
    password = _password(_("Password"), "current-password")
    # Only accounts with a second factor are asked for it.
    otp = forms.CharField(label=_("One-time code"), max_length=32, required=False, widget=forms.HiddenInput)

    def ask_for_code(self) -> None:
        attributes = {"autocomplete": "one-time-code", "inputmode": "numeric"}
        self.fields["otp"].widget = forms.TextInput(attrs=attributes)


class RegisterForm(Form):
    username = _text(_("Name"), "username", most=150)
    email = _email()
    password = _password(_("Password"), "new-password", _LENGTH)


class ForgottenForm(Form):
    email = _email()


class NewPasswordForm(Form):
    password = _password(_("New password"), "new-password", _LENGTH)


class CheckoutForm(Form):
    """Where an order goes, and how. `form` is this form's own name: sent twice, it orders once."""

    form = forms.UUIDField(widget=forms.HiddenInput)
    name = _text(_("Name"), "name", most=200)
    address = _text(_("Street and number"), "street-address", most=500)
    zip_code = _text(_("Postcode"), "postal-code", most=20)
    city = _text(_("Town or city"), "address-level2", most=100)
    country = _text(_("Country"), "country-name", most=100)
    method = forms.ChoiceField(label=_("Delivery"), widget=forms.RadioSelect)
    note = forms.CharField(
        label=_("A note for us"), max_length=1000, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )

    def __init__(self, *args: object, currency: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        method = self.fields["method"]
        assert isinstance(method, forms.ChoiceField)  # noqa: S101 - for the types: it is declared above
        method.choices = _methods(currency)
        method.initial = method.choices[0][0] if method.choices else None


def _methods(currency: str) -> Sequence[tuple[str, str]]:
    """How an order in this currency may be sent, and what that costs."""
    offered = {name: prices.get(currency, "" if prices else "0") for name, prices in settings.SHIPPING_METHODS.items()}
    return [
        (name, f"{method_name(name)}: {money(price, currency) if price != '0' else _('free')}")
        for name, price in offered.items()
        if price
    ]


class PayForm(Form):
    form = forms.UUIDField(widget=forms.HiddenInput)
    token = forms.ChoiceField(
        label=_("Card"),
        choices=[(token, name) for token, (name, _what) in CARDS.items()],
        initial="tok_visa",
        widget=forms.RadioSelect,
    )
