"""Prints what the shop tells of orders: python consume_rabbitmq.py amqp://guest:guest@localhost//"""

import json
import sys

from kombu import Connection, Consumer, Exchange, Message, Queue

# A queue of this program's own: it fills while the program is away, and nobody else takes from it.
events = Exchange("cartwright.events", type="topic", durable=True)
queue = Queue(sys.argv[2] if len(sys.argv) > 2 else "order-printer", events, routing_key="order.*")


def handle(body: object, message: Message) -> None:
    event = json.loads(message.body)
    # What may not happen twice is done in one transaction with a note of event["source"] and event["id"].
    print(event["type"], event["data"]["number"], event["id"], flush=True)
    message.ack()


with Connection(sys.argv[1]) as connection, Consumer(connection, [queue], callbacks=[handle], accept=None):
    while True:
        connection.drain_events()
