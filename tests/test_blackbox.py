"""The whole REST API of a running shop, heard from outside; and that nothing would be overheard."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace

import pytest

from tests.blackbox.matching import ID, TIME, differences, each, has
from tests.blackbox.scenarios.pages import the_shop_is_alive
from tests.blackbox.stage import Stage
from tests.blackbox.suite import SCENARIOS, run
from tests.blackbox.target import NotAddressed, Target
from tests.blackbox.transcript import Exchange, Labels, Outcome, Transcript, compare
from tests.chaos.servers import running_redis
from tests.services import needs_redis
from tests.shop import PASSWORD, ROOT, Shop, open_shop

pytestmark = [pytest.mark.e2e, pytest.mark.once]

ORIGIN = "https://shop.example.com"
PRODUCT = "01938d5e-7b1a-7c3e-9a51-0242ac120002"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """With a broker and a cache of its own, where there is Redis to start. Everything is played twice within a minute:
    once is less than half of what the rate limits let through.
    """
    with running_redis() as own:
        url = own.url if own else needs_redis()
        more = {"BROKER_URL": url, "QUEUE_PREFIX": "blackbox-"}
        folder = tmp_path_factory.mktemp("shop")
        with open_shop(folder, REDIS_URL=url, CORS_ALLOWED_ORIGINS=ORIGIN, **more) as running:
            yield running


@pytest.fixture(scope="module")
def admin(shop: Shop) -> str:
    """The e-mail address of an admin, whose password is PASSWORD."""
    shop.admin()
    return f"{shop.environment['DJANGO_SUPERUSER_USERNAME']}@example.com"


@pytest.fixture(scope="module")
def heard(shop: Shop, admin: str) -> Transcript:
    """Every scenario, played in this shop."""
    return run(Target.at(shop.url, origin=ORIGIN), email=admin, password=PASSWORD)


def test_the_whole_api(shop: Shop, heard: Transcript) -> None:
    assert list(heard.failures) == []
    assert [outcome.verdict for outcome in heard.outcomes] == ["ok"] * len(SCENARIOS)
    shop.manage("audit")


def test_services_addressed_one_by_one_say_the_same(shop: Shop, admin: str, heard: Transcript) -> None:
    """The same shop by another name, without an address for what belongs to no service."""
    other = shop.url.replace("127.0.0.1", "localhost")
    apart = Target(users=shop.url, products=other, orders=other, origin=ORIGIN)

    again = run(apart, email=admin, password=PASSWORD)

    assert list(again.failures) == []
    assert "\n".join(compare(heard, again)) == ""
    left_out = [outcome.name for outcome in again.outcomes if outcome.left_out]
    assert left_out == [
        "the shop is alive",
        "the shop is ready",
        "the landing page",
        "the openapi document",
        "the documentation comes from the shop itself",
        "an address that is none",
        "who may call pages",
    ]


TAMPERED: dict[str, Callable[[Exchange], Exchange]] = {
    "status": lambda each: replace(each, status=299),
    "header": lambda each: replace(each, headers={**each.headers, "ETag": '"9"'}),
    "body": lambda each: replace(each, body={"results": []}),
    "path": lambda each: replace(each, method="GET", path="/elsewhere", caller="admin"),
}
# What of it is seen.
TELLS = {
    "status": "+  299",
    "header": '+  ETag: "9"',
    "body": '+   "results": []',
    "path": "+GET /elsewhere  (as admin)",
}


@pytest.mark.parametrize("part", TAMPERED)
def test_an_answer_that_is_tampered_with_is_found(heard: Transcript, part: str) -> None:
    other = deepcopy(heard)
    outcome = other.outcomes[-1]
    exchange = outcome.exchanges[3]
    outcome.exchanges[3] = TAMPERED[part](exchange)

    found = compare(heard, other)

    assert found[0].startswith(f"--- {outcome.name}, 4: {exchange.method} {exchange.path}")
    assert found[1] == "+++ the other"
    changed = [line for line in found[2:] if line[0] in "-+"]
    assert TELLS[part] in changed


def test_what_only_one_run_has_is_found(heard: Transcript) -> None:
    name = heard.outcomes[-1].name
    assert compare(heard, Transcript(heard.outcomes[:-1])) == [f"{name}: only one of the runs has this scenario"]


def test_a_promise_that_is_broken_fails_its_scenario_and_no_other(shop: Shop, admin: str) -> None:
    def broken(stage: Stage) -> None:
        stage.guest.get("/health").said(200, {"status": "fine"})

    told: list[Outcome] = []
    chosen = (broken, the_shop_is_alive)

    played = run(Target.at(shop.url), email=admin, password=PASSWORD, scenarios=chosen, tell=told.append)

    assert played.failures == ["broken: GET /health (as guest): $.status is 'ok', not 'fine'"]
    assert [(outcome.name, outcome.verdict) for outcome in told] == [("broken", "FAILED"), ("the shop is alive", "ok")]


@pytest.mark.parametrize(("password", "code"), [(PASSWORD, 0), ("wrong", 1)])
def test_the_command(shop: Shop, admin: str, password: str, code: int) -> None:
    command = [sys.executable, "-m", "tests.blackbox", shop.url, "--admin", f"{admin}:{password}", "--only", "is alive"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == code, done.stderr
    assert done.stdout.endswith("the shop is alive\n") == (code == 0)
    assert ("was answered 401" in done.stderr) == (code == 1)


class TestComparing:
    @pytest.mark.parametrize(
        ("expected", "actual", "found"),
        [
            ({"id": ID, "at": TIME}, {"id": PRODUCT, "at": "2026-01-01T10:00:00.123Z"}, []),
            ({"a": 1}, {}, ["$.a is missing"]),
            ({}, {"a": 1}, ["$.a is too much: 1"]),
            ({"a": True}, {"a": 1}, ["$.a is 1, not True"]),
            ({"a": "1.00"}, {"a": 1.0}, ["$.a is 1.0, not '1.00'"]),
            ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["$.a[0].b is 2, not 1"]),
            ([1], [1, 2], ["$ is [1, 2], not [1]"]),
            (each(has(a=1)), [{"a": 1, "b": 2}], []),
            (each(has(a=1)), [], ["$ is [], not <list of <object with {'a': 1}>>"]),
            (
                {"at": TIME},
                {"at": "2026-01-01T10:00:00+00:00"},
                ["$.at is '2026-01-01T10:00:00+00:00', not <time in UTC>"],
            ),
        ],
    )
    def test_differences_are_named(self, expected: object, actual: object, found: list[str]) -> None:
        assert list(differences(expected, actual, "$")) == found

    def test_names_stand_for_what_differs(self) -> None:
        labels = Labels(bases=["http://shop"], token="xkcdxkcdxk")
        labels.name("product", PRODUCT)

        said = labels.in_json(
            {
                "next": f"http://shop/api/v1/orders/{PRODUCT}?cursor=cD0y&page_size=2",
                "created_at": "2026-01-01T10:00:00.5Z",
                "sku": "LAMP-1",
                "note": "LAMP-1 for XKCDXKCDXK",
                "product_id": PRODUCT,
                "actor_id": "01938d5e-0000-7000-8000-000000000001",
                "details": "Logged in from 10.0.0.1.",
            },
            "order",
        )

        assert said == {
            "next": "{shop}/api/v1/orders/{product1}?cursor={cursor}&page_size=2",
            "created_at": "{time}Z",
            "sku": "{sku1}",
            "note": "LAMP-1 for {run}",
            "product_id": "{product1}",
            "actor_id": "{actor1}",
            "details": "Logged in from {address}.",
        }

    def test_an_address_inside_is_no_address_of_the_shop(self) -> None:
        labels = Labels(bases=["http://shop:8080"], token="xkcdxkcdxk")
        assert labels.in_text("http://products:8083/api/v1/products") == "http://products:8083/api/v1/products"


class TestTarget:
    def test_each_path_goes_to_its_service(self) -> None:
        apart = Target(users="http://users", products="http://products", orders="http://orders")
        paths = ("users/login", "/.well-known/jwks.json", "products", "categories?page=2", "/media/a.png", "orders/1")
        assert [apart.url_of(path) for path in (*paths, "payments/webhooks/sandbox", "webhooks/endpoints")] == [
            "http://users/api/v1/users/login",
            "http://users/.well-known/jwks.json",
            "http://products/api/v1/products",
            "http://products/api/v1/categories?page=2",
            "http://products/media/a.png",
            "http://orders/api/v1/orders/1",
            "http://orders/api/v1/payments/webhooks/sandbox",
            "http://orders/api/v1/webhooks/endpoints",
        ]

    def test_what_belongs_to_no_service_has_no_address(self) -> None:
        with pytest.raises(NotAddressed, match="/health"):
            Target(users="http://u", products="http://p", orders="http://o").url_of("/health")

    def test_a_shop_at_one_address(self) -> None:
        assert Target.at("http://shop/").url_of("/health") == "http://shop/health"
