"""What the API's refusals are called on pages: a sentence for each code that a customer may meet."""

from collections.abc import Iterable

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.storefront.api import Problem

SENTENCES: dict[str, Promise] = {
    "required": _("Please fill this in."),
    "blank": _("Please fill this in."),
    "invalid": _("This is not in the form that is expected. Please check it."),
    "max_length": _("This is too long. Please shorten it."),
    "null_characters_not_allowed": _("This holds a character that cannot be kept."),
    "wrong_credentials": _("The e-mail address or the password is wrong."),
    "email_taken": _("There is an account with this e-mail address already. Log in, or reset its password."),
    "username_taken": _("Somebody else is called that already. Choose another name."),
    "weak_password": _("Choose a password of at least 8 characters that is not your own name or address."),
    "invalid_token": _("This link is not valid any more. Ask for a new one."),
    "invalid_link": _("This link is not valid any more. Ask for a new one."),
    "already_verified": _("Your e-mail address is confirmed already."),
    "otp_required": _("Enter your password again, and the code that your authenticator shows now."),
    "throttled": _("That was tried too often. Wait a moment, then try again."),
    "product_not_found": _("A product in your cart is not sold any more."),
    "out_of_stock": _("There is not enough left of what you want. Nothing was ordered."),
    "currency_mismatch": _("Your cart has products in several currencies. Order them one currency at a time."),
    "amount_too_large": _("This order is larger than we can take. Order less at a time."),
    "unknown_shipping_method": _("Choose how the order is to reach you."),
    "payment_declined": _("The card was declined. Nothing was charged: choose another card."),
    "insufficient_funds": _("The card has insufficient funds. Nothing was charged: choose another card."),
    "payment_outcome_unknown": _("The bank did not answer in time. We keep asking; this page shows what it says."),
    "invalid_transition": _("That is not possible any more: the order has changed in the meantime."),
    "order_busy": _("The order is being worked on. Try again in a moment."),
    "idempotency_in_progress": _("We are still at it. Try again in a moment."),
    "unavailable": _("The shop does not answer. Try again in a moment."),
}
_AWAY = _("Something that the shop needs does not answer. Nothing has changed; try again in a moment.")


def sentence(problem: Problem) -> str:
    """In the visitor's language where we have one for the code, else as the API says it."""
    if problem.code.endswith("_unavailable"):
        return str(_AWAY)
    return str(SENTENCES.get(problem.code, problem.detail))


def write_beside(form: forms.Form, problems: Iterable[Problem]) -> None:
    """Put each problem beside its field of the form, or at the form's top."""
    for problem in problems:
        name = problem.attr.rpartition(".")[2]
        form.add_error(name if name in form.fields else None, sentence(problem))
