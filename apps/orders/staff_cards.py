"""What the dashboard of the staff pages shows of orders. Sales are read from the sums that the reports keep."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from apps.common.ids import earliest_id
from apps.common.staff_cards import Bars, Cards, Cell, Figure, Rows, address, alarm, as_text, count_some
from apps.orders.interface import OrderStatus, PaymentStatus, RefundStatus
from apps.orders.models import Order, Payment, Refund
from apps.orders.reports.periods import Interval, Stretch
from apps.orders.reports.reading import Asked, SalesRow, SalesTotal, read_sales, read_statuses

_DAYS = 30
_ZONE = ZoneInfo("UTC")
_LONG = timedelta(days=1)
_TONES = {
    OrderStatus.PENDING: "warning",
    OrderStatus.PAID: "info",
    OrderStatus.SHIPPED: "primary",
    OrderStatus.DELIVERED: "success",
    OrderStatus.REFUNDED: "danger",
}


def cards(request: HttpRequest) -> Cards:
    """For order staff and admins: sales, orders to ship, and what has gone wrong with money."""
    if not request.user.has_module_perms("orders"):
        return Cards()
    asked = Asked(_last_days(), _ZONE)
    rows, totals = read_sales(asked, Interval.DAY)
    # The shop's own currency first, then where most was sold.
    totals = sorted(totals, key=lambda each: (each.currency != settings.CURRENCY, -each.amount))
    charts = [_chart(total, [row for row in rows if row.currency == total.currency]) for total in totals]
    return Cards(figures=[*_money_figures(totals), *_figures()], charts=charts, tables=[_states(asked)])


def _last_days() -> Stretch:
    """The last days and the present one, in full: then every hour of them has its sum."""
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Stretch(today - timedelta(days=_DAYS - 1), today + timedelta(days=1))


def _money_figures(totals: Sequence[SalesTotal]) -> list[Figure]:
    return [
        Figure(
            _("Sales, last 30 days"),
            f"{total.amount:,} {total.currency}",
            address("orders_order"),
            "trending_up",
            note=_("%(orders)s orders; %(refunded)s refunded")
            % {"orders": total.orders, "refunded": f"{total.refunded_amount:,}"},
        )
        for total in totals[:1]
    ]


def _figures() -> list[Figure]:
    now = timezone.now()
    to_ship = count_some(Order.objects.filter(status=OrderStatus.PAID))
    unknown = count_some(Payment.objects.filter(status=PaymentStatus.UNKNOWN))
    waiting = count_some(Payment.objects.filter(status=PaymentStatus.REQUIRES_ACTION, created_at__lt=now - _LONG))
    recent = Refund.objects.filter(pk__gte=earliest_id(now - timedelta(days=_DAYS)))
    failed = count_some(recent.filter(status=RefundStatus.FAILED))
    return [
        Figure(
            _("Orders to ship"),
            as_text(to_ship),
            address("orders_order", status__exact=OrderStatus.PAID),
            "local_shipping",
            "info" if to_ship else "",
            _("paid, and not on their way yet"),
        ),
        Figure(
            _("Payments in doubt"),
            as_text(unknown),
            address("orders_payment", status__exact=PaymentStatus.UNKNOWN),
            "help",
            alarm(unknown),
            _("the provider did not answer"),
        ),
        Figure(
            _("Waiting for the bank"),
            as_text(waiting),
            address("orders_payment", status__exact=PaymentStatus.REQUIRES_ACTION),
            "hourglass_top",
            alarm(waiting, "warning"),
            _("not confirmed for more than a day"),
        ),
        Figure(
            _("Failed refunds"),
            as_text(failed),
            address("orders_refund", status__exact=RefundStatus.FAILED),
            "money_off",
            alarm(failed),
            _("in the last 30 days"),
        ),
    ]


def _chart(total: SalesTotal, rows: Sequence[SalesRow]) -> Bars:
    amount = f"{total.amount:,} {total.currency}"
    return Bars(
        title=_("Sales per day, in %(currency)s") % {"currency": total.currency},
        labels=[_day(row.starts_at) for row in rows],
        numbers=[float(row.amount) for row in rows],
        summary=_("In the last 30 days %(amount)s were sold in %(orders)s orders.")
        % {"amount": amount, "orders": total.orders},
        link=address("orders_order"),
    )


def _day(at: datetime) -> str:
    return date_format(at, _("M j"))


def _states(asked: Asked) -> Rows:
    found = [row for row in read_statuses(asked) if row.orders]
    return Rows(
        title=_("Orders of the last 30 days, by where they stand"),
        headers=[_("status"), _("orders"), _("amount")],
        rows=[
            [
                Cell(
                    _(row.status.value), address("orders_order", status__exact=row.status), _TONES.get(row.status, "-")
                ),
                Cell(row.orders),
                Cell(f"{row.amount:,}\N{NO-BREAK SPACE}{row.currency}"),
            ]
            for row in found
        ],
        link=address("orders_order"),
        empty=_("No orders yet."),
    )
