"""What the services of one shop ask each other about events."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from uuid import UUID

from apps.events.envelope import Event


class EventService(ABC):
    """The inbox of one service and, of the service that has them, the webhooks."""

    @abstractmethod
    def list_unheard(self, *, consumer: str, event_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Those of the events that the consumer has neither dealt with nor failed on. The consumer is the service's."""

    @abstractmethod
    def note_for_webhooks(self, *, events: Sequence[Event]) -> None:
        """Note what is to be delivered to webhooks; what was noted before is left alone."""
