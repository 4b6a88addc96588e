"""`python -m tests.permissions` writes docs/permissions.md from the tables that the tests run; `--check` compares."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.blackbox.table import rows as rest_rows
from tests.permissions import grpc, staff

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "permissions.md"
_PEOPLE = {
    "nobody": "nobody",
    "owner": "customer, own",
    "other": "customer, another's",
    "catalog": "catalogue staff",
    "orders": "order staff",
    "admin": "admin",
}
_HEAD = """# Who may do what

Written by `python -m tests.permissions` from the tables that the tests run, cell by cell: `tests/test_access.py`,
`tests/test_grpc_access.py`, `tests/test_staff_access.py`. A call or page that is missing here fails a test.

Roles are `user` (a customer), `catalog_staff`, `order_staff` and `admin`. Whoever is not let in changes nothing. What
is another customer's is answered as if it did not exist.
"""


def main(arguments: Sequence[str]) -> int:
    page = "\n".join(_page())
    if arguments == ["--check"]:
        if _PAGE.exists() and _PAGE.read_text(encoding="utf-8") == page:
            return 0
        print("docs/permissions.md is not what the tables say. Run `python -m tests.permissions`.", file=sys.stderr)
        return 1
    _PAGE.write_text(page, encoding="utf-8")
    return 0


def _page() -> Iterator[str]:
    yield _HEAD
    yield "## REST\n"
    yield "The status that a call in order is answered with. `/api/v1/` goes before addresses without a slash.\n"
    yield from _rest()
    yield "\n## gRPC\n"
    yield (
        "`own`: what is theirs; anything else is `NOT_FOUND`, or `PERMISSION_DENIED` for an order in another's name. "
        "`any`: anybody's. `-`: `PERMISSION_DENIED`. Without a token every call is `UNAUTHENTICATED`. A service token "
        "needs the scope, and may then do it for anybody. Health and reflection are for everybody.\n"
    )
    yield from _grpc()
    yield "\n## Staff pages\n"
    yield (
        "By the beginning of the address; the longest counts. Customers and strangers come to the log-in page. What "
        "may be added, changed or deleted there, the page says; what follows from a service's rules is read-only for "
        "everybody.\n"
    )
    yield from _staff()
    yield ""


def _rest() -> Iterator[str]:
    calls: dict[tuple[str, str], dict[str, int]] = {}
    for method, path, caller, status in rest_rows():
        calls.setdefault((method, path), {})[caller] = status
    yield from _header("call", *_PEOPLE.values())
    for (method, path), statuses in calls.items():
        yield _line(f"`{method} {path}`", *(str(statuses.get(caller, "-")) for caller in _PEOPLE))


def _grpc() -> Iterator[str]:
    yield from _header("method", "scope of a service token", "customer", *list(_PEOPLE.values())[3:])
    for row in grpc.rows():
        scope = f"`{row.scope}`" if row.scope else "any"
        yield _line(f"`{row.service}/{row.method}`", scope, *(row.roles[role] for role in grpc.ROLES))


def _staff() -> Iterator[str]:
    yield from _header("page", *(_PEOPLE[role] for role in staff.ROLES))
    for beginning, roles in staff.rows():
        yield _line(f"`{beginning}…`", *("yes" if roles[role] else "-" for role in staff.ROLES))


def _header(*names: str) -> Iterator[str]:
    yield _line(*names)
    yield _line(*("---" for _ in names))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
