"""How staff find orders: by number, customer, article or recipient, and by filters."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Reverse
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.utils import parse_date_str

from apps.common.errors import DomainError
from apps.common.long_lists import ChoiceFilter, found_by_any
from apps.orders.models import Order, OrderItem, Payment, StatusBucket
from apps.orders.staff.names import ORDER_NAMES, PAYMENT_NAMES
from config import services

# Shorter parts are in too many numbers and names.
_SHORTEST = 3
_NO_PAYMENT = "none"
_KEY = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z")


def find_orders(orders: QuerySet[Order], text: str) -> QuerySet[Order]:
    """The orders that staff mean by the text: a number or its beginning or end, an e-mail address, the id of a user or
    an order, an SKU, or a part of the recipient's name.
    """
    text = text.strip()
    if _KEY.match(text):
        key, keys = UUID(text), Order.objects.values("pk")
        return found_by_any(orders, [keys.filter(pk=key), keys.filter(user_id=key)])
    if "@" in text:
        try:
            customer = services.users().get_user_by_email(email=text)
        except DomainError:
            return orders.none()
        return orders.filter(user_id=customer.id)
    return found_by_any(orders, _ways(text))


def _ways(text: str) -> list[QuerySet[Any]]:
    keys = Order.objects.values("pk")
    number = text.upper().lstrip("#")
    ways: list[QuerySet[Any]] = [
        keys.filter(number=number),
        OrderItem.objects.filter(sku__iexact=text).values("order_id"),
    ]
    if len(number) >= _SHORTEST:
        ends = Order.objects.annotate(backwards=Reverse("number")).filter(backwards__startswith=number[::-1])
        named = keys.filter(shipping__name__icontains=text)
        ways += [keys.filter(number__startswith=number), ends.values("pk"), named]
    return ways


class StatusFilter(ChoiceFilter):
    title, field, parameter_name, names = _("status"), "status", "status__exact", ORDER_NAMES


class CurrencyFilter(ChoiceFilter):
    """The shop's currency, and others in which orders have been counted."""

    title, field, parameter_name, names = _("currency"), "currency", "currency__exact", {}

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [(code, code) for code in currencies()]


class PaymentFilter(ChoiceFilter):
    """Where an attempt to pay the order stands; also orders that nobody has tried to pay."""

    title, field, parameter_name = _("payment"), "payments__status", "payment"
    names: Mapping[str, str | Promise] = {**PAYMENT_NAMES, _NO_PAYMENT: _("none")}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        chosen = self.value()
        if not chosen:
            return queryset
        attempts = Payment.objects.filter(order=OuterRef("pk"))
        if chosen == [_NO_PAYMENT]:
            return queryset.filter(~Exists(attempts))
        tried = Exists(attempts.filter(status__in=chosen))
        return queryset.filter(tried | ~Exists(attempts) if _NO_PAYMENT in chosen else tried)


class DaysFilter(RangeDateFilter):  # type: ignore[misc] # the theme has no types
    """Whole days, both included. The theme's own would leave out most of the last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in Django
        super().__init__(*args, **kwargs)
        self.title = _("day (UTC)")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        first, last = (
            parse_date_str(self.used_parameters.get(f"{self.field_path}_{end}") or "") for end in ("from", "to")
        )
        if first:
            queryset = queryset.filter(**{f"{self.field_path}__gte": _midnight(first)})
        return queryset.filter(**{f"{self.field_path}__lt": _midnight(last) + timedelta(days=1)}) if last else queryset


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def currencies() -> list[str]:
    """The currencies in which the shop has orders, its own first."""
    counted = StatusBucket.objects.order_by().values_list("currency", flat=True).distinct()
    return [settings.CURRENCY, *sorted({*counted} - {settings.CURRENCY})]
