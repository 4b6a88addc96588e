"""Staff pages for events, one pair for each service: each app registers its own."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import BooleanField, CheckboxSelectMultiple, ModelForm, MultipleChoiceField
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from apps.common.admin import ModelAdmin, ReadOnlyAdmin
from apps.common.api.permissions import ADMIN, has_role
from apps.common.errors import DomainError
from apps.events.models import FailedDelivery, OutboxEvent, WebhookDelivery, WebhookEndpoint
from apps.events.tasks import replay
from apps.events.webhooks import endpoints
from apps.events.webhooks.egress import RefusedAddress, check_url
from apps.events.webhooks.interface import EndpointChange, EndpointWithSecret


class OutboxAdmin(ReadOnlyAdmin[OutboxEvent]):
    """Events that the service has published, or is about to."""

    service: str
    list_display = ["occurred_at", "type", "subject", "sequence", "published_at"]
    list_filter = ["type", ("published_at", admin.EmptyFieldListFilter)]
    search_fields = ["=subject", "=id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxEvent]:
        return super().get_queryset(request).filter(source=self.service)


class FailedDeliveryAdmin(ReadOnlyAdmin[FailedDelivery]):
    """Events that a handler of the service could not deal with, and their errors."""

    service: str
    list_display = ["created_at", "state", "consumer", "type", "attempts", "problem"]
    list_filter = ["state", "consumer", "type"]
    search_fields = ["=event_id"]
    actions = ["replay_deliveries"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[FailedDelivery]:
        return super().get_queryset(request).filter(consumer__startswith=f"{self.service}.")

    @admin.display(description="error")
    def problem(self, failure: FailedDelivery) -> str:
        """The last line: what comes before is the way there."""
        return failure.error.rstrip().rpartition("\n")[2]

    @admin.action(description="Replay the selected deliveries", permissions=["view"])
    def replay_deliveries(self, request: HttpRequest, failures: QuerySet[FailedDelivery]) -> None:
        for failure in failures:
            replay(failure)
        left = failures.exclude(state=FailedDelivery.State.RESOLVED).count()
        handed_over = len(failures)
        level = messages.WARNING if left else messages.SUCCESS
        self.message_user(request, f"{handed_over} deliveries were replayed; {left} are not resolved (yet).", level)


_GIVEN = ("url", "types", "description", "owner_email", "active")
_HISTORY = ("state", "reason", "failures", "failing_since", "stopped_at", "old_secret_until", "created_at")


class EndpointForm(ModelForm[WebhookEndpoint]):
    """The parts that staff edit. What is wrong with the URL is said beside it."""

    types = MultipleChoiceField(required=False, widget=CheckboxSelectMultiple, help_text="None means all.")
    active = BooleanField(required=False, initial=True, help_text="Turned on, it gets what waits for it; off, nothing.")

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
    list_display = ["url", "state", "description", "owner_email", "failing_since", "created_at"]
    list_filter = ["state"]
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

    def _show(self, request: HttpRequest, endpoint: EndpointWithSecret) -> None:
        self.message_user(
            request, f"The secret of {endpoint.url} is {endpoint.secret} and is not shown again.", messages.WARNING
        )

    @admin.action(description="Rotate the secrets of the selected endpoints", permissions=["change"])
    def rotate_secrets(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in chosen:
            self._show(request, endpoints.rotate_secret(endpoint_id=endpoint.pk))

    @admin.action(description="Send a ping to the selected endpoints", permissions=["change"])
    def send_tests(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in chosen:
            try:
                endpoints.send_test(endpoint_id=endpoint.pk)
            except DomainError as error:
                self.message_user(request, f"{endpoint.url}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"A ping is on its way to {endpoint.url}.", messages.SUCCESS)


class WebhookDeliveryAdmin(ReadOnlyAdmin[WebhookDelivery]):
    """What endpoints were sent, and what they answered last."""

    list_display = ["created_at", "type", "endpoint", "state", "attempts", "status_code", "duration_ms", "error"]
    list_select_related = ["endpoint"]
    list_filter = ["state", "type"]
    search_fields = ["=event_id", "endpoint__url"]
    fields = [
        *("endpoint", "event_id", "type", "state", "attempts", "next_attempt_at", "attempted_at"),
        *("request_headers", "body", "status_code", "response", "error", "duration_ms", "created_at"),
    ]
    actions = ["replay_deliveries"]

    @admin.display(description="request's headers")
    def request_headers(self, delivery: WebhookDelivery) -> str:
        """Those of the last attempt. The signature is left out: it may have been made by an older secret."""
        at = delivery.attempted_at
        sent = {"webhook-id": delivery.event_id, "webhook-timestamp": int(at.timestamp()) if at else "-"}
        return format_html_join(mark_safe("<br>"), "{}: {}", sent.items())

    @admin.action(description="Replay the selected deliveries", permissions=["view"])
    def replay_deliveries(self, request: HttpRequest, chosen: QuerySet[WebhookDelivery]) -> None:
        replayed = 0
        for delivery in chosen:
            try:
                endpoints.replay_delivery(endpoint_id=delivery.endpoint_id, delivery_id=delivery.pk)
            except DomainError as error:
                self.message_user(request, f"{delivery}: {error}", messages.ERROR)
            else:
                replayed += 1
        self.message_user(request, f"{replayed} deliveries are on their way again.", messages.SUCCESS)
