"""What the dashboard of the staff pages shows of events: what did not arrive. For admins, who can mend it."""

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.common.api.permissions import ADMIN, has_role
from apps.common.databases import alias_of
from apps.common.staff_cards import Cards, Figure, address, alarm, as_text, count_some
from apps.events.models import FailedDelivery, OutboxEvent, WebhookEndpoint

# Each service, and which of its staff pages shows what a person must deal with.
_SERVICES = {"orders": "orders_orders", "products": "products_products", "users": "users_users"}
_WAITING = 20


def cards(request: HttpRequest) -> Cards:
    """Events that nobody could deal with, webhooks that do not get through, and what the relay has yet to publish."""
    if not has_role(request.user, ADMIN):
        return Cards()
    return Cards(figures=[*_dead(), _webhooks(), _outbox()])


def _dead() -> list[Figure]:
    """One for each service that has some; one that says that there are none."""
    found = {
        service: count_some(
            FailedDelivery.objects.using(alias_of(service)).filter(
                state=FailedDelivery.State.DEAD, consumer__startswith=f"{service}."
            )
        )
        for service in _SERVICES
    }
    shown = {service: count for service, count in found.items() if count} or {"orders": 0}
    names = {"orders": _("orders"), "products": _("catalogue"), "users": _("customers")}
    return [
        Figure(
            _("Failed events"),
            as_text(count),
            address(f"{_SERVICES[service]}faileddelivery", state__exact=FailedDelivery.State.DEAD),
            "error",
            alarm(count),
            _("of %(service)s: no handler could deal with them") % {"service": names[service]}
            if count
            else _("every handler deals with its events"),
        )
        for service, count in shown.items()
    ]


def _webhooks() -> Figure:
    endpoints = WebhookEndpoint.objects.using(alias_of(settings.WEBHOOKS_SERVICE))
    failing = count_some(endpoints.filter(failing_since__isnull=False).exclude(state=WebhookEndpoint.State.OFF))
    return Figure(
        _("Failing webhooks"),
        as_text(failing),
        address("orders_shopwebhookendpoint", failing_since__isnull="False"),
        "webhook",
        alarm(failing),
        _("addresses that do not take what they are sent"),
    )


def _outbox() -> Figure:
    """Of all services: a relay that stands still leaves more and more behind."""
    depths = {
        service: count_some(OutboxEvent.objects.using(alias_of(service)).filter(published_at=None, source=service))
        for service in _SERVICES
    }
    deepest = max(depths, key=lambda service: depths[service])
    depth = sum(depths.values())
    return Figure(
        _("Events to publish"),
        as_text(depth),
        address(f"{_SERVICES[deepest]}event", published="no"),
        "outbox",
        "warning" if depth > _WAITING else "",
        _("what the relay has yet to hand on"),
    )
