"""Whom the staff pages let in: every page, by the beginning of its address. The longest beginning counts."""

from collections.abc import Iterator

# People who are not staff, and strangers, come to the log-in page, whatever they ask for.
TABLE = """
page                           catalog  orders  admin

/admin/                        yes      yes     yes
/admin/admin/                  -        -       yes
/admin/products/               yes      -       yes
/admin/orders/                 -        yes     yes
/admin/users/                  -        -       yes
"""
ROLES = ("catalog", "orders", "admin")


def rows() -> Iterator[tuple[str, dict[str, bool]]]:
    """The beginning of addresses, and for each role whether it is let in."""
    _, *lines = (line.split() for line in TABLE.splitlines() if line)
    for beginning, *cells in lines:
        yield beginning, {role: cell == "yes" for role, cell in zip(ROLES, cells, strict=True)}


def may_open(role: str, address: str) -> bool:
    """Whether the role is let in at that address."""
    beginnings = dict(rows())
    return beginnings[max((each for each in beginnings if address.startswith(each)), key=len)][role]
