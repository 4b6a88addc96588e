"""Whether the shop in this container is ready: exit code 0 or 1, and what `/ready` says. The image's HEALTHCHECK.

It asks by the first of ALLOWED_HOSTS, as the shop answers to no other name. Nothing of the shop is imported but its
table of ports: it is asked every few seconds.
"""

import os
import runpy
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

PROFILES = Path(__file__).resolve().parents[1] / "config" / "profiles.py"
SECONDS = 4


def main() -> int:
    port = int(os.environ.get("PORT") or runpy.run_path(str(PROFILES))["current"]().port)
    host = os.environ.get("ALLOWED_HOSTS", "localhost").partition(",")[0].strip().removeprefix(".")
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/ready", headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        print(answer.read().decode())
    except (OSError, HTTPException) as error:
        print(f"Nothing answers at port {port}: {error}", file=sys.stderr)
        return 1
    return 0 if answer.status == HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
