"""Staff pages for orders. Every action calls the service, so that stock, money and events follow."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.common.admin import ReadOnlyAdmin, ReadOnlyInline, amount_column
from apps.common.long_lists import LongList, choice_filter, found_by_any, state_column
from apps.events.admin import FailedDeliveryAdmin, InboxAdmin, OutboxAdmin, WebhookDeliveryAdmin, WebhookEndpointAdmin
from apps.orders.interface import OrderStatus
from apps.orders.models import (
    Order,
    OrdersEvent,
    OrdersFailedDelivery,
    OrdersInboxEntry,
    Payment,
    Refund,
    SandboxCharge,
    ShopWebhookDelivery,
    ShopWebhookEndpoint,
)
from apps.orders.refunds_admin import RefundableAdmin
from apps.orders.staff import papers
from apps.orders.staff.acting import STEPS, StepForm, take_all
from apps.orders.staff.figures import ReportingAdmin
from apps.orders.staff.names import MONEY_COLOURS, ORDER_COLOURS, ORDER_NAMES, PAYMENT_NAMES, REFUND_NAMES, money
from apps.orders.staff.page import can_be_packed, is_invoiced, order_page
from apps.orders.staff.searching import CurrencyFilter, DaysFilter, PaymentFilter, StatusFilter, find_orders


class RefundInline(ReadOnlyInline):
    model = Refund
    fields = readonly_fields = (
        *("created_at", "amount_", "status", "lines", "restock"),
        *("reason", "transaction_id", "failure_detail"),
    )
    amount_ = staticmethod(amount_column("amount"))


@admin.register(Order)
class OrderAdmin(LongList, ReportingAdmin, RefundableAdmin):
    list_display = ["number_", "state", "total_", "customer", "placed"]
    list_filter = [StatusFilter, PaymentFilter, CurrencyFilter, ("created_at", DaysFilter)]
    state = staticmethod(state_column(ORDER_NAMES, ORDER_COLOURS))
    search_fields = ["number"]
    search_help_text = gettext_lazy("Number, e-mail, recipient or SKU")
    actions = ["packing_slips", "ship", "deliver", "cancel", "refund"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        return super().get_queryset(request).defer("note", "change")

    def get_ordering(self, request: HttpRequest) -> tuple[str]:
        """Newest first; within some days by the index of days, which the ids' own cannot know."""
        return ("-created_at" if any(name.startswith("created_at") for name in request.GET) else "-id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        return (find_orders(queryset, search_term) if search_term.strip() else queryset), False

    @admin.display(description=gettext_lazy("number"))
    def number_(self, order: Order) -> str:
        return order.number

    @admin.display(description=gettext_lazy("placed (UTC)"))
    def placed(self, order: Order) -> str:
        return f"{order.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description=gettext_lazy("total"))
    def total_(self, order: Order) -> str:
        return money(order.total, order.currency)

    @admin.display(description=gettext_lazy("customer"))
    def customer(self, order: Order) -> str:
        return str((order.shipping or {}).get("name", "")) or "-"

    # --- One order

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:order_id>/packing-slip.pdf", wrap(self.packing_slip_view), name="orders_order_packing_slip"),
            path("<uuid:order_id>/invoice.pdf", wrap(self.invoice_view), name="orders_order_invoice"),
            *super().get_urls(),
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if object_id is None or request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        order = self.visible(request, object_id)
        context = {"title": order.number, **order_page(request, order)}
        return self.page(request, order, "page.html", context)

    def packing_slip_view(self, request: HttpRequest, order_id: str) -> HttpResponse:
        order = self.visible(request, order_id)
        if not can_be_packed(order):
            return self._no_paper(request, order)
        return _pdf(papers.packing_slips([order]), f"packing-slip-{order.number}.pdf")

    def invoice_view(self, request: HttpRequest, order_id: str) -> HttpResponse:
        order = self.visible(request, order_id)
        if not is_invoiced(order):
            return self._no_paper(request, order)
        return _pdf(papers.invoice(order), f"invoice-{order.number}.pdf")

    def _no_paper(self, request: HttpRequest, order: Order) -> HttpResponse:
        told = {"number": order.number, "status": ORDER_NAMES[order.status]}
        text = _("Order %(number)s is %(status)s: there is no such paper for it.") % told
        self.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(reverse("admin:orders_order_change", args=[order.pk]))

    # --- Several orders

    @admin.action(description=gettext_lazy("Print packing slips of the selected paid orders"), permissions=["view"])
    def packing_slips(self, request: HttpRequest, orders: QuerySet[Order]) -> HttpResponse | None:
        paid = (
            orders.filter(status=OrderStatus.PAID)
            .defer(None)
            .prefetch_related("items", "payments", "refunds")
            .order_by("id")
        )
        if not paid:
            text = _("None of the selected orders is paid and waits to be packed.")
            self.message_user(request, text, messages.ERROR)
            return None
        return _pdf(papers.packing_slips(list(paid)), "packing-slips.pdf")

    @admin.action(description=gettext_lazy("Ship the selected orders"), permissions=["view"])
    def ship(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._take(request, orders, "ship")

    @admin.action(description=gettext_lazy("Mark the selected orders as delivered"), permissions=["view"])
    def deliver(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._take(request, orders, "deliver")

    @admin.action(
        description=gettext_lazy("Cancel the selected orders; what was paid is refunded"), permissions=["view"]
    )
    def cancel(self, request: HttpRequest, orders: QuerySet[Order]) -> HttpResponse | None:
        return self._ask_and_take(request, orders, "cancel")

    @admin.action(description=gettext_lazy("Refund all that is left of the selected orders"), permissions=["view"])
    def refund(self, request: HttpRequest, orders: QuerySet[Order]) -> HttpResponse | None:
        return self._ask_and_take(request, orders, "refund")

    def _ask_and_take(self, request: HttpRequest, orders: QuerySet[Order], name: str) -> HttpResponse | None:
        """A page that asks first: money moves."""
        if "confirmed" in request.POST:
            self._take(request, orders, name)
            return None
        context = {
            **self.admin_site.each_context(request),
            "opts": Order._meta,
            "title": _("Cancel orders") if name == "cancel" else _("Refund orders"),
            "name": name,
            "step": STEPS[name],
            "form": StepForm(),
            "orders": [
                (order, money(order.total, order.currency), ORDER_NAMES[order.status], ORDER_COLOURS.get(order.status))
                for order in orders
            ],
        }
        return TemplateResponse(request, "admin/orders/order/confirm.html", context)

    def _take(self, request: HttpRequest, orders: QuerySet[Order], name: str) -> None:
        reason = request.POST.get("note", "").strip()[:300] or "by staff"
        count = take_all(request, list(orders.defer(None)), STEPS[name], reason)
        if count:
            text = ngettext("Done with %(count)s order: %(step)s.", "Done with %(count)s orders: %(step)s.", count)
            told = {"count": count, "step": STEPS[name].button}
            self.message_user(request, text % told, messages.SUCCESS)


def _pdf(content: bytes, name: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(content, content_type="application/pdf", headers=headers)


class _MoneyAdmin(LongList, ReadOnlyAdmin[Any]):
    """A list of payments or refunds: found by the order's number or the provider's id, each by its own index."""

    list_select_related = ["order"]
    search_fields = ["transaction_id"]
    search_help_text = gettext_lazy("Order number or transaction")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        keys = self.model._default_manager.values("pk")  # noqa: SLF001 - Django's way to any model's rows
        ways = [keys.filter(order__number=term.upper()), keys.filter(transaction_id=term)]
        return found_by_any(queryset, ways), False

    @admin.display(description=gettext_lazy("order"))
    def order_(self, row: Payment | Refund) -> str:
        url = reverse("admin:orders_order_change", args=[row.order_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, row.order.number)


@admin.register(Payment)
class PaymentAdmin(_MoneyAdmin):
    list_display = ["created_at", "order_", "amount_", "refunded_amount_", "method", "state", "failure_code"]
    fields = readonly_fields = (
        *("order_", "state", "amount_", "refunded_amount_", "method", "provider", "transaction_id"),
        *("failure_code", "failure_detail", "created_at", "paid_at", "updated_at", "asked_at"),
    )
    amount_ = staticmethod(amount_column("amount"))
    refunded_amount_ = staticmethod(amount_column("refunded_amount"))
    inlines = [RefundInline]
    state = staticmethod(state_column(PAYMENT_NAMES, MONEY_COLOURS))
    list_filter = [choice_filter("status", PAYMENT_NAMES, gettext_lazy("status"))]


@admin.register(Refund)
class RefundAdmin(_MoneyAdmin):
    list_display = ["created_at", "order_", "amount_", "state", "restock", "reason", "failure_code"]
    fields = readonly_fields = (
        *("order_", "payment", "state", "amount_", "lines", "restock", "reason", "actor_id", "transaction_id"),
        *("failure_code", "failure_detail", "ends_as", "created_at", "refunded_at", "updated_at", "asked_at"),
    )
    amount_ = staticmethod(amount_column("amount"))
    state = staticmethod(state_column(REFUND_NAMES, MONEY_COLOURS))
    list_filter = [choice_filter("status", REFUND_NAMES, gettext_lazy("status"))]


@admin.register(SandboxCharge)
class SandboxChargeAdmin(LongList, ReadOnlyAdmin[SandboxCharge]):
    list_display = ["created_at", "transaction_id", "amount_", "refunded_amount_", "state"]
    ordering = ["-idempotency_key"]
    exclude = ["amount", "refunded_amount", "currency"]
    readonly_fields = ["amount_", "refunded_amount_"]
    amount_ = staticmethod(amount_column("amount"))
    refunded_amount_ = staticmethod(amount_column("refunded_amount"))


@admin.register(OrdersEvent)
class OrdersEventAdmin(OutboxAdmin):
    service = "orders"


@admin.register(OrdersInboxEntry)
class OrdersInboxAdmin(InboxAdmin):
    service = "orders"


@admin.register(OrdersFailedDelivery)
class OrdersFailedDeliveryAdmin(FailedDeliveryAdmin):
    service = "orders"


@admin.register(ShopWebhookEndpoint)
class ShopWebhookEndpointAdmin(WebhookEndpointAdmin):
    pass


@admin.register(ShopWebhookDelivery)
class ShopWebhookDeliveryAdmin(WebhookDeliveryAdmin):
    pass
