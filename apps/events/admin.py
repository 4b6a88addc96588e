"""Staff pages for events, some for each service: each app registers its own."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.forms import BooleanField, ModelForm, MultipleChoiceField
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop, ngettext
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldBooleanSwitchWidget

from apps.common.admin import ModelAdmin, ReadOnlyAdmin, record
from apps.common.api.permissions import ADMIN, has_role
from apps.common.errors import DomainError
from apps.common.long_lists import ChoiceFilter, LongList, choice_filter, key_in, pick_filter, state_column
from apps.events.models import FailedDelivery, InboxEntry, OutboxEvent, WebhookDelivery, WebhookEndpoint
from apps.events.tasks import replay
from apps.events.webhooks import endpoints
from apps.events.webhooks.egress import RefusedAddress, check_url
from apps.events.webhooks.interface import EndpointChange, EndpointWithSecret

_TYPES = list(settings.EVENT_SUBSCRIBERS)
_CONSUMERS = sorted({consumer for consumers in settings.EVENT_SUBSCRIBERS.values() for consumer in consumers})
_FAILURES: Mapping[str, str | Promise] = {
    FailedDelivery.State.RETRYING: gettext_lazy("tried again"),
    FailedDelivery.State.DEAD: gettext_lazy("given up"),
    FailedDelivery.State.RESOLVED: gettext_lazy("resolved"),
}
_DELIVERIES: Mapping[str, str | Promise] = {
    WebhookDelivery.State.WAITING: gettext_lazy("waiting"),
    WebhookDelivery.State.DELIVERED: gettext_lazy("delivered"),
    WebhookDelivery.State.FAILED: gettext_lazy("failed"),
}
_ENDPOINTS: Mapping[str, str | Promise] = {
    WebhookEndpoint.State.ACTIVE: gettext_lazy("active"),
    WebhookEndpoint.State.PAUSED: gettext_lazy("paused"),
    WebhookEndpoint.State.OFF: gettext_lazy("off"),
}
# The shop serves fewer.
_MOST_ENDPOINTS = 1000
_COLOURS: Mapping[str, str] = {
    FailedDelivery.State.RETRYING: "warning",
    FailedDelivery.State.DEAD: "danger",
    FailedDelivery.State.RESOLVED: "success",
    WebhookDelivery.State.WAITING: "warning",
    WebhookDelivery.State.DELIVERED: "success",
    WebhookDelivery.State.FAILED: "danger",
    WebhookEndpoint.State.ACTIVE: "success",
    WebhookEndpoint.State.PAUSED: "warning",
}
_BLOCK = (
    "bg-base-50 border border-base-200 font-mono max-h-96 overflow-auto p-3 rounded-default text-xs "
    "whitespace-pre-wrap break-words dark:bg-base-800 dark:border-base-700"
)


def block(text: str) -> SafeString | str:
    """A text as it was written, line by line; what is in it is shown and not run."""
    return format_html('<pre class="{}" tabindex="0">{}</pre>', _BLOCK, text) if text else "-"


def json_block(value: object) -> SafeString | str:
    """Data that a person can read, as a block."""
    return block(json.dumps(value, indent=2, ensure_ascii=False, default=str))


class PublishedFilter(ChoiceFilter):
    """Whether the relay has had the event."""

    title, parameter_name = gettext_lazy("published"), "published"
    names: Mapping[str, str | Promise] = {"no": gettext_lazy("not yet"), "yes": gettext_lazy("published")}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(published_at__isnull=chosen == ["no"]) if len(chosen or ()) == 1 else queryset


class OutboxAdmin(LongList, ReadOnlyAdmin[OutboxEvent]):
    """Events that the service has published, or is about to."""

    service: str
    list_display = ["occurred_at", "type", "subject", "sequence", "attempts", "published_at"]
    list_filter = [pick_filter("type", _TYPES, gettext_lazy("type")), PublishedFilter]
    search_fields = ["subject"]
    search_help_text = gettext_lazy("Id of the event or its subject")
    fields = [
        *("type", "id", "source", "subject", "sequence", "occurred_at", "published_at", "delivered_at"),
        *("readable", "attempts", "available_at", "problem", "version", "traceparent", "request_id"),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxEvent]:
        return super().get_queryset(request).filter(source=self.service)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[OutboxEvent], search_term: str
    ) -> tuple[QuerySet[OutboxEvent], bool]:
        if not search_term.strip():
            return queryset, False
        key = key_in(search_term)
        return (queryset.filter(subject=key) | queryset.filter(pk=key) if key else queryset.none()), False

    @admin.display(description=gettext_lazy("data"))
    def readable(self, event: OutboxEvent) -> str:
        return json_block(event.data)

    @admin.display(description=gettext_lazy("last error"))
    def problem(self, event: OutboxEvent) -> str:
        return block(event.last_error)


class InboxAdmin(LongList, ReadOnlyAdmin[InboxEntry]):
    """Events that handlers of the service have dealt with."""

    service: str
    list_display = ["handled_at", "consumer", "event_id", "applied"]
    ordering = ["-id"]
    search_fields = ["event_id"]
    search_help_text = gettext_lazy("Id of the event")

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [pick_filter("consumer", _consumers_of(self.service), gettext_lazy("consumer"))]

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboxEntry]:
        return super().get_queryset(request).filter(consumer__startswith=f"{self.service}.")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[InboxEntry], search_term: str
    ) -> tuple[QuerySet[InboxEntry], bool]:
        if not search_term.strip():
            return queryset, False
        key = key_in(search_term)
        # The index is by consumers first.
        found = queryset.filter(consumer__in=_consumers_of(self.service), event_id=key) if key else queryset.none()
        return found, False


def _consumers_of(service: str) -> list[str]:
    return [consumer for consumer in _CONSUMERS if consumer.startswith(f"{service}.")]


class ReplayingAdmin(LongList, ReadOnlyAdmin[Any]):
    """Rows that can be sent again, from their pages and from the list."""

    change_form_outer_before_template = "admin/events/replay.html"
    actions = ["replay_deliveries"]

    def get_urls(self) -> list[URLPattern]:
        opts = self.model._meta
        name = f"{opts.app_label}_{opts.model_name}_replay"
        return [
            path("<uuid:key>/replay/", self.admin_site.admin_view(self.replay_view), name=name),
            *super().get_urls(),
        ]

    def replay_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.get_queryset(request).filter(pk=key).first()
        if row is None:
            raise Http404
        opts = self.model._meta
        self.replay_all(request, [row])
        return HttpResponseRedirect(reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[key]))

    @admin.action(description=gettext_lazy("Replay the selected deliveries"), permissions=["view"])
    def replay_deliveries(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self.replay_all(request, list(rows))

    def replay_all(self, request: HttpRequest, rows: list[Any]) -> None:
        """Send each again, once, and say what came of it."""
        raise NotImplementedError

    def noted(self, request: HttpRequest, row: Model, *names: str) -> None:
        """In the log: what these fields of the row were, and are."""
        before = {name: getattr(row, name) for name in names}
        row.refresh_from_db()
        record(
            request, row, gettext_noop("Replayed"), before=before, after={name: getattr(row, name) for name in names}
        )


class FailedDeliveryAdmin(ReplayingAdmin):
    """Events that a handler of the service could not deal with, and their errors."""

    service: str
    list_display = ["created_at", "state_", "consumer", "type", "attempts", "problem"]
    state_ = staticmethod(state_column(_FAILURES, _COLOURS, "state"))
    search_fields = ["event_id"]
    search_help_text = gettext_lazy("Id of the event")
    fields = [
        *("state_", "consumer", "type", "event_id", "attempts", "next_attempt_at", "created_at"),
        *("whole_error", "readable"),
    ]
    readonly_fields = ["state_"]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [
            choice_filter("state", _FAILURES, gettext_lazy("state")),
            pick_filter("consumer", _consumers_of(self.service), gettext_lazy("consumer")),
            pick_filter("type", _TYPES, gettext_lazy("type")),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[FailedDelivery]:
        return super().get_queryset(request).filter(consumer__startswith=f"{self.service}.")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[FailedDelivery], search_term: str
    ) -> tuple[QuerySet[FailedDelivery], bool]:
        if not search_term.strip():
            return queryset, False
        key = key_in(search_term)
        return (queryset.filter(event_id=key) if key else queryset.none()), False

    @admin.display(description=gettext_lazy("error"))
    def problem(self, failure: FailedDelivery) -> str:
        """The last line: what comes before is the way there."""
        return failure.error.rstrip().rpartition("\n")[2][:200]

    @admin.display(description=gettext_lazy("error"))
    def whole_error(self, failure: FailedDelivery) -> str:
        return block(failure.error)

    @admin.display(description=gettext_lazy("message"))
    def readable(self, failure: FailedDelivery) -> str:
        return json_block(failure.message)

    def replay_all(self, request: HttpRequest, rows: list[FailedDelivery]) -> None:
        for failure in rows:
            replay(failure)
            self.noted(request, failure, "state", "attempts")
        left = sum(failure.state != FailedDelivery.State.RESOLVED for failure in rows)
        level = messages.WARNING if left else messages.SUCCESS
        text = ngettext(
            "%(count)s delivery was replayed; %(left)s not resolved (yet).",
            "%(count)s deliveries were replayed; %(left)s not resolved (yet).",
            len(rows),
        )
        self.message_user(request, text % {"count": len(rows), "left": left}, level)


_GIVEN = ("url", "types", "description", "owner_email", "active")
_HISTORY = (
    "state_",
    "deliveries",
    "reason",
    "failures",
    "failing_since",
    "stopped_at",
    "old_secret_until",
    "created_at",
)


class EndpointForm(ModelForm[WebhookEndpoint]):
    """The parts that staff edit. What is wrong with the URL is said beside it."""

    types = MultipleChoiceField(
        label=gettext_lazy("Types"),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("None means all."),
    )
    active = BooleanField(
        label=gettext_lazy("Active"),
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        help_text=gettext_lazy("Turned on, it gets what waits for it; off, nothing."),
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["url", "types", "description", "owner_email"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in Django
        super().__init__(*args, **kwargs)
        types = self.fields["types"]
        assert isinstance(types, MultipleChoiceField)  # noqa: S101 - as declared above
        types.choices = [(each, each) for each in endpoints.public_types()]
        if self.instance.url:
            self.initial["active"] = self.instance.state == WebhookEndpoint.State.ACTIVE

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        try:
            check_url(url)
        except RefusedAddress as error:
            raise ValidationError(str(error)) from error
        return url


class WebhookEndpointAdmin(ModelAdmin[WebhookEndpoint]):
    """Addresses of others' that hear of events. The secret is shown once, when it is made."""

    form = EndpointForm
    list_display = ["url", "state_", "description", "owner_email", "failing_since", "created_at"]
    list_filter = [choice_filter("state", _ENDPOINTS, gettext_lazy("state"))]
    list_filter_submit = True
    state_ = staticmethod(state_column(_ENDPOINTS, _COLOURS, "state"))
    search_fields = ["url", "description", "owner_email"]
    actions = ["rotate_secrets", "send_tests"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """As over REST: whoever names an address can have customers' data sent there."""
        return has_role(request.user, ADMIN)

    def has_change_permission(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> bool:
        return has_role(request.user, ADMIN)

    def has_delete_permission(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> bool:
        """It would take its history along: it is turned off instead."""
        return False

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> tuple[str, ...]:
        return (*_GIVEN, *(_HISTORY if obj else ()))

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> tuple[str, ...]:
        return _HISTORY

    def save_model(
        self,
        request: HttpRequest,
        obj: WebhookEndpoint,
        form: ModelForm[WebhookEndpoint],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        given = {name: form.cleaned_data[name] for name in _GIVEN}
        if change:
            endpoints.change_endpoint(endpoint_id=obj.pk, change=EndpointChange(**given))
        else:
            made = endpoints.create_endpoint(**given)
            obj.pk = made.id
            self._show(request, made)
        obj.refresh_from_db()

    @admin.display(description=gettext_lazy("deliveries"))
    def deliveries(self, endpoint: WebhookEndpoint) -> str:
        opts = self.model._meta
        url = reverse(f"admin:{opts.app_label}_shopwebhookdelivery_changelist")
        return format_html('<a class="text-link" href="{}?q={}">{}</a>', url, endpoint.pk, _("what it was sent"))

    def _show(self, request: HttpRequest, endpoint: EndpointWithSecret) -> None:
        text = _("The secret of %(url)s is %(secret)s and is not shown again.")
        self.message_user(request, text % {"url": endpoint.url, "secret": endpoint.secret}, messages.WARNING)

    @admin.action(description=gettext_lazy("Rotate the secrets of the selected endpoints"), permissions=["change"])
    def rotate_secrets(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in chosen:
            before = {"old_secret_until": endpoint.old_secret_until}
            self._show(request, endpoints.rotate_secret(endpoint_id=endpoint.pk))
            endpoint.refresh_from_db()
            after = {"old_secret_until": endpoint.old_secret_until}
            record(request, endpoint, gettext_noop("Secret rotated"), before=before, after=after)

    @admin.action(description=gettext_lazy("Send a ping to the selected endpoints"), permissions=["change"])
    def send_tests(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in chosen:
            try:
                delivery = endpoints.send_test(endpoint_id=endpoint.pk)
            except DomainError as error:
                self.message_user(request, f"{endpoint.url}: {error}", messages.ERROR)
            else:
                record(
                    request, endpoint, gettext_noop("Ping sent"), before={"ping": ""}, after={"ping": str(delivery.id)}
                )
                text = _("A ping is on its way to %(url)s.") % {"url": endpoint.url}
                self.message_user(request, text, messages.SUCCESS)


class WebhookDeliveryAdmin(ReplayingAdmin):
    """What endpoints were sent, and what they answered last."""

    list_display = ["created_at", "type", "endpoint", "state_", "attempts", "status_code", "duration_ms", "error"]
    state_ = staticmethod(state_column(_DELIVERIES, _COLOURS, "state"))
    list_select_related = ["endpoint"]
    list_filter = [
        choice_filter("state", _DELIVERIES, gettext_lazy("state")),
        pick_filter("type", _TYPES, gettext_lazy("type")),
    ]
    search_fields = ["event_id"]
    search_help_text = gettext_lazy("Id of the event or endpoint, or URL")
    fields = [
        *("state_", "endpoint", "event_id", "type", "attempts", "next_attempt_at", "attempted_at"),
        *("request_headers", "readable", "status_code", "answer", "error", "duration_ms", "created_at"),
    ]
    readonly_fields = ["state_"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[WebhookDelivery], search_term: str
    ) -> tuple[QuerySet[WebhookDelivery], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if key := key_in(term):
            return queryset.filter(event_id=key) | queryset.filter(endpoint_id=key), False
        named = WebhookEndpoint.objects.using(queryset.db).filter(url__icontains=term).values_list("pk", flat=True)
        return queryset.filter(endpoint__in=list(named[:_MOST_ENDPOINTS])), False

    @admin.display(description=gettext_lazy("request's headers"))
    def request_headers(self, delivery: WebhookDelivery) -> str:
        """Those of the last attempt. The signature is left out: it may have been made by an older secret."""
        at = delivery.attempted_at
        sent = {"webhook-id": delivery.event_id, "webhook-timestamp": int(at.timestamp()) if at else "-"}
        return format_html_join(mark_safe("<br>"), "{}: {}", sent.items())

    @admin.display(description=gettext_lazy("body"))
    def readable(self, delivery: WebhookDelivery) -> str:
        try:
            return json_block(json.loads(delivery.body))
        except ValueError:
            return block(delivery.body)

    @admin.display(description=gettext_lazy("response"))
    def answer(self, delivery: WebhookDelivery) -> str:
        return block(delivery.response)

    def replay_all(self, request: HttpRequest, rows: list[WebhookDelivery]) -> None:
        replayed = 0
        for delivery in rows:
            try:
                endpoints.replay_delivery(endpoint_id=delivery.endpoint_id, delivery_id=delivery.pk)
            except DomainError as error:
                self.message_user(request, f"{delivery}: {error}", messages.ERROR)
            else:
                replayed += 1
                self.noted(request, delivery, "state", "next_attempt_at")
        if replayed:
            text = ngettext(
                "%(count)s delivery is on its way again.", "%(count)s deliveries are on their way again.", replayed
            )
            self.message_user(request, text % {"count": replayed}, messages.SUCCESS)
