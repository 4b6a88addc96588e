"""What staff call the states of orders, payments and refunds, and which colour they have."""

from collections.abc import Mapping
from decimal import Decimal

from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.common.money import places_of, quantize
from apps.orders.interface import OrderStatus, PaymentStatus, RefundStatus
from apps.orders.states import Action

ORDER_NAMES: Mapping[str, str | Promise] = {
    OrderStatus.PENDING: _("pending"),
    OrderStatus.PAID: _("paid"),
    OrderStatus.SHIPPED: _("shipped"),
    OrderStatus.DELIVERED: _("delivered"),
    OrderStatus.CANCELLED: _("cancelled"),
    OrderStatus.EXPIRED: _("expired"),
    OrderStatus.REFUNDED: _("refunded"),
}
ORDER_COLOURS: Mapping[str, str] = {
    OrderStatus.PENDING: "warning",
    OrderStatus.PAID: "info",
    OrderStatus.SHIPPED: "primary",
    OrderStatus.DELIVERED: "success",
    OrderStatus.REFUNDED: "danger",
}
PAYMENT_NAMES: Mapping[str, str | Promise] = {
    PaymentStatus.PROCESSING: _("processing"),
    PaymentStatus.UNKNOWN: _("outcome unknown"),
    PaymentStatus.REQUIRES_ACTION: _("waits for the customer"),
    PaymentStatus.SUCCEEDED: _("succeeded"),
    PaymentStatus.FAILED: _("failed"),
    PaymentStatus.PARTIALLY_REFUNDED: _("partially refunded"),
    PaymentStatus.REFUNDED: _("refunded"),
}
REFUND_NAMES: Mapping[str, str | Promise] = {
    RefundStatus.PROCESSING: _("processing"),
    RefundStatus.UNKNOWN: _("outcome unknown"),
    RefundStatus.SUCCEEDED: _("succeeded"),
    RefundStatus.FAILED: _("failed"),
}
# Of payments and of refunds: their states are called alike.
MONEY_COLOURS: Mapping[str, str] = {
    PaymentStatus.PROCESSING: "warning",
    PaymentStatus.UNKNOWN: "warning",
    PaymentStatus.REQUIRES_ACTION: "warning",
    PaymentStatus.SUCCEEDED: "success",
    PaymentStatus.FAILED: "danger",
    PaymentStatus.PARTIALLY_REFUNDED: "info",
    PaymentStatus.REFUNDED: "info",
}
# What is said of a change, and its symbol.
CHANGES: Mapping[str, tuple[str | Promise, str]] = {
    "place": (_("Order placed"), "shopping_cart"),
    Action.CHANGE: (_("Order changed"), "edit"),
    Action.PAY: (_("Payment received"), "credit_card"),
    Action.FAIL_PAYMENT: (_("Payment failed"), "credit_card_off"),
    Action.SHIP: (_("Shipped"), "local_shipping"),
    Action.DELIVER: (_("Delivered"), "check_circle"),
    Action.CANCEL: (_("Cancelled"), "cancel"),
    Action.EXPIRE: (_("Expired: not paid in time"), "timer_off"),
    Action.REFUND_PART: (_("Refunded in part"), "currency_exchange"),
    Action.REFUND: (_("Refunded"), "currency_exchange"),
    Action.FAIL_REFUND: (_("Refund failed"), "error"),
}


def money(amount: Decimal, currency: str) -> str:
    """The amount with the places of its currency, and in groups of three digits."""
    shown = number_format(quantize(amount, currency), decimal_pos=places_of(currency), force_grouping=True)
    return f"{shown}\N{NO-BREAK SPACE}{currency}"
