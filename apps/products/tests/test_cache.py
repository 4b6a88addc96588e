"""What Redis remembers of the catalogue is what the database says, and is put together without asking it."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.cache import cache as django_cache
from django.db import connections
from django.http import HttpResponse
from django.utils import timezone
from django_redis import get_redis_connection
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.common.cached import Cached, await_refill, read, refilled
from apps.common.ids import new_id
from apps.events.envelope import Event
from apps.products import cache, popular, tasks
from apps.products.api import quick
from apps.products.interface import ProductChange, StockLine
from apps.products.models import Product
from apps.products.services import LocalProductService
from apps.products.tests.factories import make_category, make_product
from tests.flow import sends

service = LocalProductService()
PRODUCTS = "/api/v1/products"
SAME = ("Content-Type", "Vary", "ETag", "Cache-Control")


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("shared_cache")]


def headers(response: HttpResponse) -> dict[str, str | None]:
    return {name: response.headers.get(name) for name in SAME}


def whole_way(api: APIClient, address: str) -> Any:  # noqa: ANN401 - a response
    """The answer as REST framework makes it, for the same caller."""
    return api.get(address, headers={"Accept": "application/json; q=0.9"})


def reserve(product_id: UUID, quantity: int) -> UUID:
    order_id = uuid4()
    lines = [StockLine(product_id=product_id, quantity=quantity)]
    service.reserve_stock(order_id=order_id, lines=lines, hold_for=timedelta(hours=1))
    return order_id


def event(kind: str, subject: UUID, data: Mapping[str, object]) -> dict[str, object]:
    """The message of an event of orders."""
    return Event(
        id=new_id(),
        type=kind,
        source="orders",
        subject=subject,
        sequence=2,
        data=data,
        timestamp=timezone.now(),
        version=1,
        traceparent=f"00-{'a' * 32}-{'b' * 16}-00",
    ).to_message()


class TestOneProduct:
    def test_is_the_whole_ways_answer_without_a_query(self, api: APIClient) -> None:
        product = make_product(name='Lamp "\\u0000" Ünï', category="Lights", attributes={"stock": -1}, tags=["a"])
        address = f"{PRODUCTS}/{product.id}"
        slow = whole_way(api, address)
        api.get(address)

        with sends(0):
            fast = api.get(address)

        assert fast.content == slow.content
        assert headers(fast) == headers(slow)
        with sends(0):
            fresh = api.get(address, headers={"If-None-Match": fast["ETag"]})
        assert (fresh.status_code, fresh.content, fresh["ETag"]) == (304, b"", fast["ETag"])

    def test_follows_every_change(self, api: APIClient) -> None:
        product = make_product(name="Lamp", stock=5, category="Lights")
        address = f"{PRODUCTS}/{product.id}"

        def seen() -> tuple[str, str, int]:
            api.get(address)
            body = api.get(address).json()
            return body["name"], body["category"], body["stock"]

        assert seen() == ("Lamp", "Lights", 5)
        order_id = reserve(product.id, 2)
        assert seen() == ("Lamp", "Lights", 3)
        service.release_reservation(order_id=order_id)
        service.adjust_stock(product_id=product.id, delta=4, reason="delivery")
        assert seen() == ("Lamp", "Lights", 9)
        service.update_product(product_id=product.id, change=ProductChange(name="Chair"))
        assert seen() == ("Chair", "Lights", 9)
        assert product.category_id
        service.update_category(category_id=product.category_id, name="Seats")
        assert seen() == ("Chair", "Seats", 9)
        service.update_product(product_id=product.id, change=ProductChange(active=False))
        assert api.get(address).status_code == 404
        service.update_product(product_id=product.id, change=ProductChange(active=True))
        assert seen() == ("Chair", "Seats", 9)
        service.delete_product(product_id=product.id)
        assert api.get(address).status_code == 404

    def test_a_refused_change_forgets_nothing(self, api: APIClient) -> None:
        product = make_product()
        address = f"{PRODUCTS}/{product.id}"
        api.get(address)
        api.get(address)

        with pytest.raises(Exception, match="more wanted"):
            reserve(product.id, 1000)

        with sends(0):
            assert api.get(address).status_code == 200

    def test_names_the_host_that_was_asked(self, api: APIClient) -> None:
        product = make_product()
        picture = {
            "id": str(uuid4()),
            "url": "products/a.webp",
            "alt": "",
            "width": 1,
            "height": 1,
            "thumbnails": {"small": "s", "medium": "m", "large": "l"},
        }
        Product.objects.filter(pk=product.id).update(images=[picture])
        address = f"{PRODUCTS}/{product.id}"

        for host in ("testserver", "localhost", "testserver"):
            (image,) = api.get(address, headers={"Host": host}).json()["images"]
            assert image["url"] == f"http://{host}/media/products/a.webp"

    def test_staff_and_people_go_the_whole_way(self, api: APIClient) -> None:
        product = make_product()
        address = f"{PRODUCTS}/{product.id}"
        api.get(address)
        api.get(address)

        assert api.get(address, headers={"Accept": "text/html"})["Content-Type"].startswith("text/html")
        assert api.get(address, headers={"Authorization": "Bearer nonsense"}).status_code == 401
        assert api.get(address, headers={"Accept": "application/xml"}).status_code == 406
        assert api.post(address, {}).status_code == 401
        assert api.head(address).status_code == 200

    def test_one_caller_at_a_time_looks_it_up(self, api: APIClient) -> None:
        product = make_product()

        def ask(_: int) -> int:
            try:
                return int(APIClient().get(f"{PRODUCTS}/{product.id}").status_code)
            finally:
                connections.close_all()

        looked_up = 0
        look_up = quick._look_up

        def counted(product_ids: list[UUID]) -> dict[UUID, cache.Answer]:
            nonlocal looked_up
            looked_up += 1
            return look_up(product_ids)

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(8) as pool:
            patch.setattr(quick, "_look_up", counted)
            assert set(pool.map(ask, range(8))) == {200}
        assert looked_up == 1


class TestPages:
    @pytest.mark.parametrize(
        "query",
        [
            "",
            "?page=2&page_size=3",
            "?ordering=-price&category=lights",
            "?tag=warm&min_price=3",
            "?attributes[colour]=red",
            "/search?q=lamp",
            "/search?q=lamp&ordering=name&page_size=2",
            "/search?q=nothing",
            "/suggest?q=la",
            "/popular",
        ],
    )
    def test_are_the_whole_ways_answers_without_a_query(self, api: APIClient, query: str) -> None:
        for n in range(7):
            colour = "red" if n % 2 else "blue"
            make_product(
                name=f"Lamp {n}", price=Decimal(n + 1), category="Lights", tags=["warm"], attributes={"colour": colour}
            )
        address = f"{PRODUCTS}{query}"
        slow = whole_way(api, address)
        api.get(address)
        api.get(address)

        with sends(0):
            fast = api.get(address)

        assert slow.status_code == 200
        assert fast.content == slow.content
        assert headers(fast) == headers(slow)

    def test_follow_every_change(self, api: APIClient) -> None:
        make_product(name="Lamp")

        def seen(query: str = "") -> list[tuple[str, int]]:
            api.get(f"{PRODUCTS}{query}")
            return [(each["name"], each["stock"]) for each in api.get(f"{PRODUCTS}{query}").json()["results"]]

        assert seen() == [("Lamp", 100)]
        chair = make_product(name="Chair")
        assert seen() == [("Chair", 100), ("Lamp", 100)]
        reserve(chair.id, 30)
        assert seen() == [("Chair", 70), ("Lamp", 100)]
        service.update_product(product_id=chair.id, change=ProductChange(name="Stool"))
        assert seen() == [("Stool", 70), ("Lamp", 100)]
        assert seen("/search?q=stool") == [("Stool", 70)]
        service.delete_product(product_id=chair.id)
        assert seen() == [("Lamp", 100)]
        assert seen("/search?q=stool") == []

    def test_what_is_in_stock_is_always_looked_up(self, api: APIClient) -> None:
        lamp = make_product(stock=1)
        address = f"{PRODUCTS}?in_stock=true"
        assert api.get(address).json()["count"] == 1

        reserve(lamp.id, 1)

        assert api.get(address).json()["count"] == 0

    def test_a_category_changes_them(self, api: APIClient) -> None:
        category = make_category(name="Lights")
        make_product(category="Lights")
        address = f"{PRODUCTS}/search?q=product"
        api.get(address)

        service.update_category(category_id=category.id, slug="lamps")

        (facet,) = api.get(address).json()["facets"]["categories"]
        assert facet["slug"] == "lamps"

    @pytest.mark.parametrize("query", ["?utm_source=mail", "?format=json", f"/search?q=lamp&tag={'x' * 1000}"])
    def test_odd_addresses_are_not_kept(self, api: APIClient, query: str) -> None:
        make_product()
        for _ in range(2):
            api.get(f"{PRODUCTS}{query}")

        assert django_cache.keys("products:page:*") == []  # type: ignore[attr-defined] # django-redis

    def test_bad_input_keeps_nobody_waiting(self, api: APIClient) -> None:
        for _ in range(3):
            assert api.get(f"{PRODUCTS}?min_price=x").status_code == 400
        assert read([f"{cache._page_key(f'{PRODUCTS}?min_price=x')}:refill"]) == {}


class TestRemembering:
    def test_an_old_value_does_not_come_back(self) -> None:
        shelf = Cached("test", seconds=60)
        shelf.remember({"a": 1})
        shelf.forget(["a"])
        shelf.remember({"a": 1})

        assert shelf.pick(["a"], read([shelf.key("a")])) == {}

    def test_what_is_there_is_not_overwritten(self) -> None:
        shelf = Cached("test", seconds=60)
        shelf.remember({"a": 1})
        shelf.remember({"a": 2, "b": 3})

        assert shelf.pick("abc", read(map(shelf.key, "abc"))) == {"a": 1, "b": 3}

    def test_the_second_waits_for_the_first(self) -> None:
        def first_finishes() -> None:
            time.sleep(0.1)
            found.append("found")
            refilled("key")

        found: list[str] = []
        assert await_refill("key", lambda: next(iter(found), None)) is None
        with ThreadPoolExecutor(1) as pool:
            pool.submit(first_finishes)
            assert await_refill("key", lambda: next(iter(found), None)) == "found"
        assert await_refill("key", lambda: "found meanwhile") == "found meanwhile"
        assert read(["key:refill"]) == {}


class TestPopular:
    def test_views_and_sales_count(self, api: APIClient) -> None:
        seen, sold, never = make_product(), make_product(), make_product()
        for _ in range(3):
            popular._views._flushed_at = 0
            api.get(f"{PRODUCTS}/{seen.id}")
        popular.count_sale({sold.id: 1, uuid4(): 5})

        assert popular.top() == [sold.id, seen.id]
        names = [each["id"] for each in api.get(f"{PRODUCTS}/popular").json()["results"]]
        assert names == [str(sold.id), str(seen.id)]
        assert str(never.id) not in names

    def test_they_fade(self) -> None:
        old, new = make_product(), make_product()
        popular.count_sale({old.id: 3})
        for _ in range(2 * 7 * 24):
            popular.cool()
            django_cache.delete(f"{popular._KEY}:cooled")
        popular.count_sale({new.id: 1})

        assert popular.top() == [new.id, old.id]

    def test_an_hour_passes_once_for_all_schedules(self) -> None:
        popular.count_sale({make_product().id: 3})
        key, redis = django_cache.make_key(popular._KEY), get_redis_connection("default")
        popular.cool()
        ((_, after_one),) = redis.zrange(key, 0, -1, withscores=True)
        popular.cool()
        popular.cool()

        ((_, after_three),) = redis.zrange(key, 0, -1, withscores=True)
        assert after_one == after_three < 60

    def test_a_sale_that_is_told_twice_counts_once(self) -> None:
        product, other = make_product(), make_product()
        sold = {"items": [{"product_id": str(product.id), "quantity": 2}]}
        message = event("order.paid", uuid4(), sold)
        popular.count_sale({other.id: 3})

        for _ in range(2):
            tasks.count_sales.apply(args=([message],))

        assert popular.top() == [other.id, product.id]

    def test_a_new_shop_shows_its_newest(self) -> None:
        first, second = make_product(), make_product()

        assert popular.top() == [second.id, first.id]

    def test_without_redis_the_ledger_stands_in(self, settings: Settings) -> None:
        settings.SHARED_CACHE = False
        one, many, _ = make_product(), make_product(), make_product()
        for product, quantity in ((one, 1), (many, 2)):
            service.commit_reservation(order_id=reserve(product.id, quantity))

        assert popular.top() == [many.id, one.id]


def test_without_redis_nothing_is_remembered(settings: Settings, api: APIClient) -> None:
    settings.SHARED_CACHE = False
    product = make_product()

    for _ in range(2):
        with sends(2):
            response: HttpResponse = api.get(f"{PRODUCTS}/{product.id}")
    assert response.status_code == 200
