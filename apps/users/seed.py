"""The demo's people: one log-in for each role, and customers for the orders."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from unicodedata import normalize

from django.contrib.auth.hashers import make_password
from django.db.models import Q

from apps.common.bulk import insert
from apps.common.databases import atomic
from apps.common.demo import Buyer, CustomerSeeder, Plan, Progress, batches, dice
from apps.common.ids import derived_id
from apps.users.interface import Role
from apps.users.models import User, fold

PASSWORD = "cartwright-demo"  # noqa: S105 - printed for everybody to use; never made when DEBUG is off
_ACCOUNTS = {
    "admin": (Role.ADMIN, "Ada", "Okafor"),
    "catalog": (Role.CATALOG_STAFF, "Carl", "Lindqvist"),
    "orders": (Role.ORDER_STAFF, "Olga", "Petrova"),
    "customer": (Role.USER, "Camille", "Dubois"),
}
# The first customer's age says in later runs when the first run was.
_FIRST_JOINED = timedelta(days=400)

_FIRST_NAMES = (
    "Maria", "James", "Wei", "Amina", "Noah", "Zoë", "Liam", "Yuki", "Elena", "Mateo", "Fatima", "Björn", "Priya",
    "Lucas", "Chloé", "Omar", "Hannah", "Diego", "Ingrid", "Kwame", "Sofia", "Tomáš", "Aiko", "Daniel", "Leïla",
    "Anton", "Grace", "Ravi", "Emily", "Jonas", "Nadia", "Peter", "Mei", "Samuel", "Clara", "Hassan", "Julia",
)  # fmt: skip
_LAST_NAMES = (
    "García", "Smith", "Chen", "Diallo", "Williams", "Müller", "Murphy", "Tanaka", "Rossi", "Fernández", "Hassan",
    "Nilsson", "Sharma", "Silva", "Lefèvre", "Farouk", "Schmidt", "Morales", "Hansen", "Mensah", "Kowalska", "Novák",
    "Suzuki", "Cohen", "Benali", "Ivanov", "Taylor", "Patel", "Johnson", "Weber", "Rahman",
)  # fmt: skip
_STREETS = ("Mill Lane", "Station Road", "Rue des Lilas", "Lindenstraße", "Harbour Street", "Via Roma", "Oak Avenue")
_CITIES = ("Bristol", "Lyon", "Leipzig", "Porto", "Turin", "Ghent", "Malmö", "Denver", "Toronto", "Kraków")


_BUYER_FIELDS = ("id", "username_folded", "email_folded", "first_name", "last_name")


class DemoCustomers(CustomerSeeder):
    """Writes `User` rows. Customers are known by their usernames."""

    def anchor(self, plan: Plan) -> datetime:
        first = User.objects.filter(username_folded=_username(0)).values_list("created_at", flat=True).first()
        return first + _FIRST_JOINED if first else plan.now

    def seed(self, plan: Plan, anchor: datetime, progress: Progress) -> int:
        made = self._seed_accounts(anchor) if plan.accounts else 0
        # One hash for all: a deliberately slow function, called once.
        password = make_password(PASSWORD if plan.accounts else None)
        for indices in batches(plan.customers):
            known = self.find(indices)
            missing = [_customer(plan, anchor, index, password) for index in indices if index not in known]
            with atomic("users"):
                insert(missing)
            made += len(missing)
            progress(len(indices))
        return made

    def find(self, indices: Collection[int]) -> Mapping[int, Buyer]:
        names = {_username(index): index for index in indices}
        emails = {_email(name): index for name, index in names.items()}
        # By either: people change the one or the other.
        rows = User.objects.filter(Q(username_folded__in=names) | Q(email_folded__in=emails)).order_by()
        return {
            names[row.username_folded] if row.username_folded in names else emails[row.email_folded]: _to_buyer(row)
            for row in rows.only(*_BUYER_FIELDS)
        }

    def account(self, username: str) -> Buyer | None:
        row = User.objects.filter(email_folded=_email(username)).first()
        return _to_buyer(row) if row else None

    def _seed_accounts(self, anchor: datetime) -> int:
        """Make the log-ins whose username and e-mail address nobody has."""
        taken = User.objects.filter(username_folded__in=_ACCOUNTS).values_list("username_folded", flat=True)
        free = set(_ACCOUNTS) - set(taken) - {name for name in _ACCOUNTS if self.account(name)}
        password = make_password(PASSWORD) if free else ""
        with atomic("users"):
            insert(_account(name, anchor, password) for name in _ACCOUNTS if name in free)
        return len(free)


def _to_buyer(row: User) -> Buyer:
    return Buyer(user_id=row.id, name=f"{row.first_name} {row.last_name}".strip())


def _account(name: str, anchor: datetime, password: str) -> User:
    role, first_name, last_name = _ACCOUNTS[name]
    joined = anchor - _FIRST_JOINED
    return User(
        id=derived_id(joined, f"account:{name}"),
        username=name,
        username_folded=name,
        email=_email(name),
        email_folded=_email(name),
        first_name=first_name,
        last_name=last_name,
        role=role,
        email_verified=True,
        password=password,
        created_at=joined,
        updated_at=joined,
    )


def _customer(plan: Plan, anchor: datetime, index: int, password: str) -> User:
    chance = dice(plan.seed, "customer", index)
    joined = anchor - (_FIRST_JOINED if index == 0 else timedelta(minutes=chance.randrange(31 * 1440, 400 * 1440)))
    username = _username(index)
    first_name, last_name = _names(index)
    return User(
        id=derived_id(joined, f"customer:{index}"),
        username=username,
        username_folded=username,
        email=_email(username),
        email_folded=_email(username),
        first_name=first_name,
        last_name=last_name,
        phone=f"+1 555 01{chance.randrange(10_000):04d}",
        address=f"{chance.randrange(1, 180)} {chance.choice(_STREETS)}, {chance.choice(_CITIES)}",
        email_verified=chance.random() < 0.9,  # noqa: PLR2004 - nine in ten
        password=password,
        created_at=joined,
        updated_at=joined,
    )


def _names(index: int) -> tuple[str, str]:
    """A first and a last name: both lists have a prime length, so that pairs repeat late."""
    return _FIRST_NAMES[index % len(_FIRST_NAMES)], _LAST_NAMES[index % len(_LAST_NAMES)]


def _username(index: int) -> str:
    """Does not depend on the seed: a run with another seed makes nobody twice."""
    first_name, _ = _names(index)
    letters = normalize("NFKD", fold(first_name)).encode("ascii", "ignore").decode()
    return f"{letters}.{index + 1:04d}"


def _email(username: str) -> str:
    return f"{username}@example.com"
