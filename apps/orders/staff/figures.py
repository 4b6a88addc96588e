"""The reports as a page: sales, products and states of a time, as charts, tables and files."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from apps.common.admin import ReadOnlyAdmin
from apps.common.api.download import csv_file
from apps.orders.interface import OrderStatus
from apps.orders.models import Order
from apps.orders.reports.periods import Interval, Stretch, midnight
from apps.orders.reports.reading import (
    Asked,
    Ordering,
    ProductRow,
    SalesRow,
    SalesTotal,
    StatusRow,
    read_products,
    read_sales,
    read_statuses,
)
from apps.orders.reports.sheets import to_csv
from apps.orders.staff.names import ORDER_COLOURS, ORDER_NAMES, money
from apps.orders.staff.searching import currencies

_USUAL_DAYS, _MOST_DAYS = 30, 3660
_QUICK = ((7, gettext_lazy("7 days")), (30, gettext_lazy("30 days")), (90, gettext_lazy("90 days")),
          (365, gettext_lazy("12 months")))  # fmt: skip
_TOP = 10
# Longer times are told by weeks, still longer ones by months, unless somebody wants another interval.
_BY_DAY, _BY_WEEK = 45, 200
_INTERVALS = {
    Interval.DAY: gettext_lazy("day"),
    Interval.WEEK: gettext_lazy("week"),
    Interval.MONTH: gettext_lazy("month"),
}
_BARS = {
    "info": "#38bdf8",
    "warning": "#f97316",
    "primary": "var(--color-primary-600)",
    "success": "#16a34a",
    "danger": "#dc2626",
}
_GREY = "#9ca3af"
_REGIONS = ("Africa/", "America/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")


class _DateInput(UnfoldAdminTextInputWidget):  # type: ignore[misc] # the theme has no types
    """The browser's own calendar."""

    input_type = "date"


class ReportForm(forms.Form):
    """What the reports are about. Whatever is not given is the usual: 30 days, the shop's currency, UTC."""

    interval = forms.ChoiceField(
        label=gettext_lazy("Show by"),
        required=False,
        choices=[("", gettext_lazy("as fits the time")), *((each.value, name) for each, name in _INTERVALS.items())],
        widget=UnfoldAdminSelectWidget,
    )
    currency = forms.ChoiceField(label=gettext_lazy("Currency"), required=False, widget=UnfoldAdminSelectWidget)
    tz = forms.CharField(
        label=gettext_lazy("Time zone"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "zones", "autocomplete": "off"}),
    )
    field_order = ("from", "to", "interval", "currency", "tz")

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in Django
        super().__init__(*args, **kwargs)
        self.fields["from"] = forms.DateField(label=_("From"), required=False, widget=_DateInput)
        self.fields["to"] = forms.DateField(label=_("To, included"), required=False, widget=_DateInput)
        self.order_fields(self.field_order)
        currency = self.fields["currency"]
        assert isinstance(currency, forms.ChoiceField)  # noqa: S101 - as declared above
        currency.choices = [(code, code) for code in currencies()]

    def clean_tz(self) -> ZoneInfo:
        name = self.cleaned_data["tz"] or "UTC"
        if name != "UTC" and name not in available_timezones():
            raise forms.ValidationError(_("There is no such time zone. Take one such as Europe/Berlin or UTC."))
        return ZoneInfo(name)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        zone: ZoneInfo = cleaned["tz"]
        last: date = cleaned["to"] or timezone.now().astimezone(zone).date()
        first: date = cleaned["from"] or last - timedelta(days=_USUAL_DAYS - 1)
        if first > last:
            self.add_error("to", _("This is before the first day."))
        elif (last - first).days > _MOST_DAYS:
            self.add_error("from", _("A report is about ten years at most."))
        elif last.year > timezone.now().year + 1 or first.year < 1971:  # noqa: PLR2004 - before all computers' time
            self.add_error("from", _("There are no orders then."))
        return {**cleaned, "first": first, "last": last}

    def wish(self) -> "Wish":
        given = self.cleaned_data
        days = (given["last"] - given["first"]).days + 1
        usual = Interval.DAY if days <= _BY_DAY else Interval.WEEK if days <= _BY_WEEK else Interval.MONTH
        return Wish(
            first=given["first"],
            last=given["last"],
            zone=given["tz"],
            currency=given["currency"] or currencies()[0],
            interval=Interval(given["interval"]) if given["interval"] else usual,
            chosen=given["interval"],
        )


@dataclass(frozen=True)
class Wish:
    """What somebody wants to see. `chosen` is the interval if they chose it themselves."""

    first: date
    last: date
    zone: ZoneInfo
    currency: str
    interval: Interval
    chosen: str

    def asked(self) -> Asked:
        stretch = Stretch(midnight(self.first, self.zone), midnight(self.last + timedelta(days=1), self.zone))
        return Asked(stretch, self.zone, self.currency)

    def values(self) -> dict[str, str]:
        """As the form has it."""
        return {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "interval": self.chosen,
            "currency": self.currency,
            "tz": self.zone.key,
        }


def _sales_file(wish: Wish) -> Iterator[str]:
    return to_csv(SalesRow, read_sales(wish.asked(), wish.interval)[0])


def _products_file(wish: Wish) -> Iterator[str]:
    return to_csv(ProductRow, read_products(wish.asked(), Ordering.MOST_AMOUNT, None))


def _status_file(wish: Wish) -> Iterator[str]:
    return to_csv(StatusRow, read_statuses(wish.asked()))


_FILES: Mapping[str, Callable[[Wish], Iterator[str]]] = {
    "sales": _sales_file,
    "products": _products_file,
    "status": _status_file,
}


class ReportingAdmin(ReadOnlyAdmin[Order]):
    """Adds the reports to the pages of orders."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("reports/", wrap(self.reports_view), name="orders_reports"),
            path("reports/<slug:name>.csv", wrap(self.report_file_view), name="orders_report_file"),
            *super().get_urls(),
        ]

    def reports_view(self, request: HttpRequest) -> HttpResponse:
        form = self._form(request)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Reports"),
            "content_title": _("Reports"),
            "shop": settings.SHOP_NAME,
            "form": form,
            "zones": sorted(name for name in available_timezones() if name.startswith(_REGIONS)),
        }
        if form.is_valid():
            wish = form.wish()
            shown = ReportForm(wish.values())
            context |= {"form": shown, **_figures(wish)}
        return TemplateResponse(request, "admin/orders/reports.html", context)

    def report_file_view(self, request: HttpRequest, name: str) -> HttpResponseBase:
        form = self._form(request)
        if name not in _FILES or not form.is_valid():
            raise Http404
        wish = form.wish()
        return csv_file(_FILES[name](wish), f"{name}-{wish.first}-{wish.last}-{wish.currency}.csv")

    def _form(self, request: HttpRequest) -> ReportForm:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return ReportForm(request.GET)


def _figures(wish: Wish) -> dict[str, Any]:
    asked = wish.asked()
    sales, (total, *_others) = read_sales(asked, wish.interval)
    statuses = read_statuses(asked)
    products = list(read_products(asked, Ordering.MOST_AMOUNT, _TOP))
    query = urlencode(wish.values())
    return {
        "wish": wish,
        "interval": _INTERVALS[wish.interval],
        "cards": _cards(total),
        "chart": json.dumps(_sales_chart(sales, wish)),
        "states_chart": json.dumps(_states_chart(statuses)),
        "sales": [_sales_row(row) for row in sales],
        "total": _sales_row(total),
        "statuses": [_status_row(row) for row in statuses],
        "products": _product_rows(products),
        "most_products": _TOP,
        "files": {name: f"{reverse('admin:orders_report_file', args=[name])}?{query}" for name in _FILES},
        "quick": _quick(wish),
    }


def _quick(wish: Wish) -> list[dict[str, Any]]:
    """Ways to the times that are mostly wanted, up to today."""
    today = timezone.now().astimezone(wish.zone).date()
    links = []
    for days, name in _QUICK:
        first = today - timedelta(days=days - 1)
        values = {**wish.values(), "from": first.isoformat(), "to": today.isoformat(), "interval": ""}
        links.append(
            {"name": name, "url": f"?{urlencode(values)}", "chosen": (wish.first, wish.last) == (first, today)}
        )
    return links


def _cards(total: SalesTotal) -> list[tuple[str, str]]:
    return [
        (_("Sales"), money(total.amount, total.currency)),
        (_("Refunds"), money(total.refunded_amount, total.currency)),
        (_("Net"), money(total.net, total.currency)),
        (_("Paid orders"), f"{total.orders:,}"),
        (_("Units"), f"{total.units:,}"),
        (_("Average order"), money(total.average_order, total.currency)),
    ]


_BAR = {"grouped": True, "maxBarThickness": 24, "borderRadius": 3, "categoryPercentage": 0.7}


def _sales_chart(rows: Sequence[SalesRow], wish: Wish) -> dict[str, Any]:
    return {
        "labels": [row.period[5:] if wish.interval == Interval.DAY else row.period for row in rows],
        "datasets": [
            {
                "label": _("Sales"),
                "data": [float(row.amount) for row in rows],
                "backgroundColor": "var(--color-primary-600)",
                **_BAR,
                "displayYAxis": True,
                "suffixYAxis": wish.currency,
                "maxTicksXLimit": 12,
            },
            {
                "label": _("Refunds"),
                "data": [float(row.refunded_amount) for row in rows],
                "backgroundColor": "#f97316",
                **_BAR,
            },
        ],
    }


def _states_chart(rows: Sequence[StatusRow]) -> dict[str, Any]:
    return {
        "labels": [str(ORDER_NAMES[row.status]) for row in rows],
        "datasets": [
            {
                "label": _("Orders"),
                "data": [row.orders for row in rows],
                "backgroundColor": [_BARS.get(ORDER_COLOURS.get(row.status, ""), _GREY) for row in rows],
                **_BAR,
                "displayYAxis": True,
            }
        ],
    }


def _sales_row(row: SalesTotal) -> dict[str, Any]:
    return {
        "period": row.period if isinstance(row, SalesRow) else _("Total"),
        "orders": row.orders,
        "units": row.units,
        "amount": money(row.amount, row.currency),
        "refunds": row.refunds,
        "refunded": money(row.refunded_amount, row.currency),
        "net": money(row.net, row.currency),
    }


def _status_row(row: StatusRow) -> dict[str, Any]:
    return {
        "name": ORDER_NAMES[OrderStatus(row.status)],
        "colour": ORDER_COLOURS.get(row.status),
        "orders": row.orders,
        "amount": money(row.amount, row.currency),
    }


def _product_rows(rows: Sequence[ProductRow]) -> list[dict[str, Any]]:
    most = max((row.amount for row in rows), default=0)
    return [
        {
            "row": row,
            "amount": money(row.amount, row.currency),
            "share": round(100 * row.amount / most) if most else 0,
        }
        for row in rows
    ]
