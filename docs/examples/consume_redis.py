"""Prints what the shop tells of orders: python consume_redis.py redis://localhost:6379/0"""

import json
import sys
from contextlib import suppress

from redis import Redis, ResponseError

# Patience on the socket must be longer than what is waited for below.
server = Redis.from_url(sys.argv[1], decode_responses=True, socket_timeout=30)
stream, group = sys.argv[2] if len(sys.argv) > 2 else "cartwright:events", "order-printer"
# The group remembers how far this program has come; "0" is the beginning of what the stream still has.
with suppress(ResponseError):
    server.xgroup_create(stream, group, id="0", mkstream=True)
position = "0"  # first what was handed over and not acknowledged before this program ended, then what is new
while True:
    for _, entries in server.xreadgroup(group, "one", {stream: position}, count=100, block=5000):
        position = ">" if not entries else position
        for entry, fields in entries:
            if fields["type"].startswith("order."):
                event = json.loads(fields["event"])
                print(event["type"], event["data"]["number"], event["id"], flush=True)
            server.xack(stream, group, entry)
