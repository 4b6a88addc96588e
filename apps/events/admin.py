"""Staff pages for events, one pair for each service: each app registers its own."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.common.admin import ReadOnlyAdmin
from apps.events.models import FailedDelivery, OutboxEvent
from apps.events.tasks import replay


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
