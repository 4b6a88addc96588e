"""Customers buy, things die, and in the end the books are compared."""

import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import psycopg
import requests

from tests.chaos.clients import Bank, Clerk, Crowd, Customer, Memory
from tests.chaos.disturbances import disturbances, right_clocks
from tests.chaos.reconciliation import faults
from tests.chaos.store import as_id
from tests.chaos.world import World, open_world
from tests.shop import PASSWORD, Client

# Name → first stock, price, and how often it is wanted. Two are sold out soon.
_CATALOGUE = {
    "Hot": (100_000, "10.00", 10),
    "Rare": (40, "25.50", 3),
    "Single": (1, "99.99", 1),
    "Plain": (500, "3.33", 4),
}
_CUSTOMERS, _CLERKS = 5, 1
_PAUSE_SECONDS = 0.15
# A process starts again after at most ten seconds, which are half a minute when it keeps dying.
_RECOVERED_WITHIN = 60
_SETTLED_WITHIN = 240
# What beat would do within a minute.
_CHORES = "; ".join(
    f"app.send_task('{task}') if settings.BROKER_URL else app.tasks['{task}'].apply()"
    for task in ("orders.settle_open_orders", "events.confirm_deliveries", "events.retry_failed_deliveries")
)
_EXCERPT = 6000
_OPEN = "('processing', 'unknown')"
_TOLD = ["created", "updated", "paid", "shipped", "delivered", "cancelled", "expired", "refunded"]
# A payment that was given up, and of which the provider keeps a charge. Ids are text there, and have no dashes here.
_STRAY = """orders_payment AS payment JOIN orders_sandboxcharge AS charge
    ON replace(CAST(payment.id AS text), '-', '') = replace(charge.idempotency_key, '-', '')
    WHERE payment.status = 'failed' AND charge.state <> 'voided' AND charge.refunded_amount < charge.amount"""
# Table, column, rows and minutes: what waits for time to pass.
_AGES = [
    ("orders_payment", "updated_at", f"status IN {_OPEN} OR failure_code = 'never_arrived'", 2),
    ("orders_refund", "updated_at", f"status IN {_OPEN}", 2),
    ("orders_order", "change_began_at", "change_began_at IS NOT NULL", 2),
    ("events_outboxevent", "published_at", "published_at IS NOT NULL AND delivered_at IS NULL", 6),
    ("events_outboxevent", "available_at", "published_at IS NOT NULL AND delivered_at IS NULL", 6),
    ("events_faileddelivery", "next_attempt_at", "state = 'retrying'", 1),
    ("events_webhookdelivery", "next_attempt_at", "state = 'waiting'", 1),
    ("events_webhookendpoint", "available_at", "failures > 0", 1),
]


@dataclass(frozen=True)
class Plan:
    """What is to be done, from which seed, and to which shop."""

    kills: int
    seed: int
    database: str = "sqlite"
    broker: str = "none"
    # Instead of names drawn by lot.
    only: Sequence[str] = ()
    seconds_between: float = 6


@dataclass
class Report:
    """What came of it."""

    plan: Plan
    done: list[tuple[str, float]] = field(default_factory=list)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    settled_in: float = 0
    hooks: str = ""
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        plan = self.plan
        lines = [f"seed {plan.seed} on {plan.database}, broker {plan.broker}: {len(self.done)} disturbances"]
        lines += [f"  {name:<24} recovered after {seconds:5.1f} s" for name, seconds in self.done]
        lines.append(f"{sum(self.answers.values())} requests")
        lines += [f"  {what:<8} {answer:<32} {count:>6}" for (what, answer), count in sorted(self.answers.items())]
        lines.append(f"settled after {self.settled_in:.1f} s; webhooks: {self.hooks}")
        lines.append(f"violations: {len(self.violations)}")
        return "\n".join([*lines, *(f"  {violation}" for violation in self.violations)])


def carry_out(plan: Plan, folder: Path) -> Report:
    """The whole campaign."""
    report = Report(plan)
    dice = random.Random(plan.seed)  # noqa: S311 - the same again from the same seed
    with open_world(folder, database=plan.database, broker=plan.broker, dice=dice) as world:
        products = {world.admin.product(stock, price): name for name, (stock, price, _) in _CATALOGUE.items()}
        wanted = {product: _CATALOGUE[name][2] for product, name in products.items()}
        _register(world)
        memory = Memory()
        probe = Customer(wanted, _bank(world), *_account(world, memory))
        crowd = _crowd(world, memory, wanted)
        try:
            for name in _choose(plan, world):
                report.done.append((name, _disturb(world, probe, name)))
                time.sleep(plan.seconds_between)
        finally:
            crowd.dissolve()
        report.settled_in = _settle(world)
        report.answers = _count(memory)
        prices = {product: Decimal(_CATALOGUE[name][1]) for product, name in products.items()}
        initial = {product: _CATALOGUE[name][0] for product, name in products.items()}
        may_expire = any(name.startswith("clock") for name, _ in report.done)
        report.violations = faults(memory, world.store, initial, prices, may_expire=may_expire)
        report.violations += [*_unheard(world, report), *_disagreements(world)]
        report.violations += _accidents(memory, world.shop.log)
    return report


def _choose(plan: Plan, world: World) -> Sequence[str]:
    """Each disturbance once, in a random order, before any comes again."""
    if plan.only:
        return plan.only
    names = list(disturbances(world))
    chosen: list[str] = []
    while len(chosen) < plan.kills:
        chosen += world.dice.sample(names, len(names))
    return chosen[: plan.kills]


def _account(world: World, memory: Memory) -> tuple[str, str, Memory, random.Random]:
    """What a caller needs to be somebody."""
    name = f"user{secrets.token_hex(6)}"
    account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    assert Client(world.shop.url).post("/users/register", account).status_code == HTTPStatus.CREATED
    return world.shop.url, account["email"], memory, _fork(world.dice)


def _fork(dice: random.Random) -> random.Random:
    """A thread's own."""
    return random.Random(dice.getrandbits(64))  # noqa: S311 - see above


def _crowd(world: World, memory: Memory, wanted: Mapping[str, int]) -> Crowd:
    staff = f"{world.shop.environment['DJANGO_SUPERUSER_USERNAME']}@example.com"
    customers = [Customer(wanted, _bank(world), *_account(world, memory)) for _ in range(_CUSTOMERS)]
    return Crowd([*customers, Clerk(world.shop.url, staff, memory, _fork(world.dice))], _PAUSE_SECONDS)


def _bank(world: World) -> Bank:
    return Bank(world.store, world.shop.url, world.shop.environment["PAYMENT_WEBHOOK_SECRET"])


def _register(world: World) -> None:
    """Somebody wants to hear of orders."""
    given = {"url": world.hooks.url, "owner_email": "erp@example.com", "types": [f"order.{what}" for what in _TOLD]}
    response = world.admin.post("/webhooks/endpoints", given)
    assert response.status_code == HTTPStatus.CREATED, response.text


def _unheard(world: World, report: Report) -> Iterator[str]:
    """Every event of an order has been posted, and taken."""
    rows = world.store.rows("SELECT id, type FROM events_outboxevent WHERE type LIKE %s", "order.%")
    heard, refused = world.hooks.heard, world.hooks.refused
    report.hooks = f"{len(heard)} events taken, {refused} attempts refused"
    for key, kind in rows:
        if as_id(key) not in heard:
            yield f"{kind} {as_id(key)} never reached the webhook"
    if len(rows) != len(heard):
        yield f"of {len(rows)} events of orders the webhook heard {len(heard)}"


def _accidents(memory: Memory, log: Path) -> Iterator[str]:
    """Whatever dies, nobody is told of an internal error."""
    for wish in memory.wishes:
        if any(answer.status == HTTPStatus.INTERNAL_SERVER_ERROR for answer in wish.answers):
            yield f"{wish.what} {wish.key} of order {wish.order} was answered 500"
    text = log.read_text()
    where = text.rfind("Internal Server Error")
    if where >= 0:
        yield f"the log tells of an internal error: {text[where : where + _EXCERPT]}"


def _disagreements(world: World) -> Iterator[str]:
    """What the shop itself finds wrong."""
    for command in (["audit"], ["rebuild_reports", "--check"]):
        try:
            world.shop.manage(*command)
        except AssertionError as found:
            yield str(found)


def _disturb(world: World, probe: Customer, name: str) -> float:
    """Do it, and wait until the shop serves again; returns how many seconds that took."""
    disturbances(world)[name](world)
    seconds = _recover(world, probe, name)
    if right_clocks(world, name):
        _recover(world, probe, f"{name}, put right")
    return seconds


def _recover(world: World, probe: Customer, name: str) -> float:
    """The shop takes an order and a payment, and passes on what it has to tell."""
    began = time.monotonic()
    deadline = began + _RECOVERED_WITHIN
    order = paid = None
    while not (paid and _is_published(world, paid)):
        assert time.monotonic() < deadline, f"{name}: no recovery\n{world.shop.log.read_text()[-3000:]}"
        order = order or probe.buy()
        paid = paid or (order and probe.pay_for(order))
        time.sleep(0.1)
    return time.monotonic() - began


def _is_published(world: World, order: str) -> bool:
    with suppress(psycopg.OperationalError):
        query = "SELECT count(*) FROM events_outboxevent WHERE published_at IS NULL AND subject = %s"
        return world.store.count(query, UUID(order)) == 0
    return False


def _settle(world: World) -> float:
    """Wait until nothing is under way, with the clocks of the rows that would keep us waiting put forward."""
    began = time.monotonic()
    world.shop.eventually(lambda: requests.get(f"{world.shop.url}/ready", timeout=10).ok, 60)
    while left := _under_way(world):
        assert time.monotonic() < began + _SETTLED_WITHIN, f"{left}\n{world.shop.log.read_text()[-5000:]}"
        _age(world)
        world.shop.manage("shell", "-c", f"from django.conf import settings; from config.celery import app; {_CHORES}")
        time.sleep(1)
    return time.monotonic() - began


def _under_way(world: World) -> Mapping[str, int]:
    """What is still to come, and how much of it."""
    questions = {
        "events to be delivered": "events_outboxevent WHERE published_at IS NULL OR delivered_at IS NULL",
        "failed deliveries": "events_faileddelivery WHERE state = 'retrying'",
        "webhooks to be noted": "events_pendingexport",
        "webhooks to be sent": "events_webhookdelivery WHERE state = 'waiting'",
        "open payments": f"orders_payment WHERE status IN {_OPEN}",
        "open refunds": f"orders_refund WHERE status IN {_OPEN}",
        "open changes": "orders_order WHERE change_began_at IS NOT NULL",
        "charges to be given back": _STRAY,
    }
    counts = {what: world.store.count(f"SELECT count(*) FROM {question}") for what, question in questions.items()}
    return {what: count for what, count in counts.items() if count}


def _age(world: World) -> None:
    """Let two minutes pass for what was left open, six for what was published, and an hour for no one."""
    now = datetime.now(UTC)
    for table, column, condition, minutes in _AGES:
        aged = now - timedelta(minutes=minutes)
        world.store.rows(f"UPDATE {table} SET {column} = %s WHERE {condition}", aged)


def _count(memory: Memory) -> Counter[tuple[str, str]]:
    """How often each kind of wish got each kind of answer."""
    return Counter(
        (wish.what, f"{answer.status or 'no answer'} {answer.code}".strip())
        for wish in memory.wishes
        for answer in wish.answers
    )
