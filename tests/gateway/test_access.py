"""The gateway refuses what the services refuse to a caller without the token or the role, and lets through the rest."""

import re

import pytest

from tests.blackbox import table
from tests.gateway.gateway import Running

pytestmark = pytest.mark.once

ID = "0199fec7-8a33-7000-a4c1-4bd1f700e5f6"
ROLES = {"owner": "user", "other": "user", "catalog": "catalog_staff", "orders": "order_staff", "admin": "admin"}
# Only the service knows whose log is asked for; and /health is the gateway's own.
NOT_BY_CLAIMS = "users/activity?user={user}"
CELLS = [cell for cell in table.rows() if cell[1] != "/health"]


@pytest.mark.parametrize(("method", "path"), dict.fromkeys(cell[:2] for cell in CELLS))
def test_who_gets_past_the_gateway(gateway: Running, method: str, path: str) -> None:
    address = re.sub("{[^}]*}", ID, path if path.startswith("/") else f"/api/v1/{path}")
    for *call, caller, status in CELLS:
        if call != [method, path]:
            continue
        gateway.backend.reset()
        headers = gateway.bearer(ROLES[caller]) if caller in ROLES else {}
        reply = gateway.newcomer().ask(method, address, headers)
        arrived = [seen.path for service in gateway.backend.all() for seen in service.seen]
        if status == 401:
            assert (reply.status, reply.code, arrived) == (401, "not_authenticated", []), caller
        elif status == 403 and path != NOT_BY_CLAIMS:
            assert (reply.status, reply.code, arrived) == (403, "permission_denied", []), caller
        else:
            assert (reply.status, arrived) == (200, [address]), caller
