"""What an event is, in plain Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Fact:
    """Something that happened to a subject, as the service that changed it states it.

    `sequence` counts the changes of one subject, so that a late event can be told from a new one.
    `data` holds JSON values only. A fact that may be stated twice has an `id`, so that it becomes one event.
    """

    type: str
    subject: UUID
    sequence: int
    data: Mapping[str, Any]
    id: UUID | None = None


@dataclass(frozen=True)
class Event:
    """A fact with its envelope, as subscribers get it. Fields are those of CloudEvents 1.0 where it has them."""

    id: UUID
    type: str
    source: str
    subject: UUID
    sequence: int
    data: Mapping[str, Any]
    timestamp: datetime
    version: int
    traceparent: str
    # What the client was told in `X-Request-ID`, if a request is behind it.
    request_id: str = ""

    def to_message(self) -> dict[str, Any]:
        """The event as JSON values, for a message or a column."""
        return {
            "id": str(self.id),
            "type": self.type,
            "source": self.source,
            "subject": str(self.subject),
            "sequence": self.sequence,
            "data": dict(self.data),
            "timestamp": self.timestamp.isoformat(),
            "version": self.version,
            "traceparent": self.traceparent,
            "request_id": self.request_id,
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "Event":
        """The event behind `to_message()`.

        Raises:
            KeyError, ValueError: the message is none of ours.
        """
        return cls(
            id=UUID(message["id"]),
            type=message["type"],
            source=message["source"],
            subject=UUID(message["subject"]),
            sequence=message["sequence"],
            data=message["data"],
            timestamp=datetime.fromisoformat(message["timestamp"]),
            version=message["version"],
            traceparent=message["traceparent"],
            # Messages of a version before this one have none.
            request_id=message.get("request_id", ""),
        )
