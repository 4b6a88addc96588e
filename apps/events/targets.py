"""Systems that get every event: an exchange of RabbitMQ's, a stream of Redis's."""

from collections.abc import Sequence

from django.conf import settings
from kombu import Connection, Exchange, Producer
from redis import Redis

from apps.events.cloudevent import CONTENT_TYPE, to_json
from apps.events.envelope import Event

# A server that takes an event and does not say so has hung.
_CONNECT_SECONDS = 3
_ANSWER_SECONDS = 5


class AmqpExchange:
    """A topic exchange: the routing key is the event's type. An event that no queue is bound for is nobody's."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def publish(self, events: Sequence[Event]) -> None:
        """Publish the events, and wait until the server has confirmed each.

        Raises:
            Exception: whatever the server's driver has for a server that is away; some may have been published.
        """
        try:
            producer = self._producer or self._open()
            for event in events:
                producer.publish(
                    to_json(event),
                    routing_key=event.type,
                    content_type=CONTENT_TYPE,
                    content_encoding="utf-8",
                    message_id=str(event.id),
                    confirm_timeout=_ANSWER_SECONDS,
                )
        except Exception:
            self.close()
            raise

    def _open(self) -> Producer:
        # Nobody answers heartbeats while there is nothing to publish.
        self._connection = Connection(
            settings.EVENTS_AMQP_URL,
            connect_timeout=_CONNECT_SECONDS,
            heartbeat=0,
            transport_options={"confirm_publish": True, "read_timeout": _ANSWER_SECONDS},
        )
        exchange = Exchange(settings.EVENTS_AMQP_EXCHANGE, "topic", durable=True)
        self._producer = Producer(self._connection.channel(), exchange)
        return self._producer

    def close(self) -> None:
        """Let go of the connection, without asking a server that may have hung."""
        if self._connection:
            self._connection.collect()
        self._connection = self._producer = None


class RedisStream:
    """A stream of bounded length; each entry has the event's `type`, and the whole of it as `event`."""

    def __init__(self) -> None:
        self._redis = Redis.from_url(
            settings.EVENTS_REDIS_URL, socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=_ANSWER_SECONDS
        )

    def publish(self, events: Sequence[Event]) -> None:
        """Add the events to the stream.

        Raises:
            RedisError: the server is away; some may have been added.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for event in events:
            pipeline.xadd(
                settings.EVENTS_REDIS_STREAM,
                {"type": event.type, "event": to_json(event)},
                maxlen=settings.EVENTS_REDIS_LENGTH,
                approximate=True,
            )
        pipeline.execute()

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()
