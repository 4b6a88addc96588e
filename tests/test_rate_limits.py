"""Who asks too often is refused for as long as it takes, and nobody else."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
import redis
from django.core.cache import cache
from django.db import OperationalError
from django.test import Client as Browser
from django.urls import URLPattern, URLResolver, get_resolver
from django_redis import get_redis_connection
from drf_spectacular.generators import SchemaGenerator
from limits import parse_many
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.common import rate_limits
from apps.common.addresses import network_of
from apps.common.ids import new_id
from apps.common.rate_limits import RateLimiter
from apps.orders.models import Order, Payment
from apps.orders.tests.factories import make_product, place
from apps.users.interface import Client, Role
from apps.users.models import Session
from apps.users.tests.factories import PASSWORD, UserFactory
from config import services
from config.rate_limits import TIGHTER
from tests.flow import SESSION, LoggedIn, sends
from tests.outage import door
from tests.services import needs_redis

pytestmark = pytest.mark.django_db
LogIn = Callable[..., LoggedIn]
Limit = Callable[..., None]
API = "/api/v1"
PROFILE = f"{API}/users/profile"
PRODUCTS = f"{API}/products"


@pytest.fixture
def limit(settings: Settings) -> Limit:
    """Sets these limits and no others, for clients that have not asked anything yet."""

    def set_limits(**limits: str) -> None:
        settings.RATE_LIMITS = {name: parse_many(value) for name, value in limits.items()}

    return set_limits


def statuses(client: APIClient, url: str, times: int, **options: Any) -> list[int]:  # noqa: ANN401 - of a test client
    return [client.get(url, **options).status_code for _ in range(times)]


# --- What the answer is --------------------------------------------------------------------------


def test_the_refusal_is_in_the_shape_of_errors(api: APIClient, limit: Limit, settings: Settings) -> None:
    limit(address="1/minute")
    settings.CORS_ALLOWED_ORIGINS = ["https://shop.example.com"]
    origin = {"origin": "https://shop.example.com"}
    assert api.get(PRODUCTS, headers=origin).status_code == 200
    response = api.get(PRODUCTS, headers=origin)
    wait = response["Retry-After"]
    assert response.status_code == 429
    assert 50 < int(wait) <= 60
    detail = f"Request was throttled. Expected available in {wait} seconds."
    assert response.json() == {
        "type": "client_error",
        "errors": [{"code": "throttled", "detail": detail, "attr": None}],
    }
    assert re.fullmatch("[0-9a-f]{32}", response["X-Request-ID"])
    assert response["Access-Control-Allow-Origin"] == origin["origin"]
    assert {"Retry-After", "X-Request-ID"} <= set(response["Access-Control-Expose-Headers"].split(", "))
    assert (response["X-Content-Type-Options"], response["X-Frame-Options"]) == ("nosniff", "DENY")


def test_a_browser_gets_a_page(client: Browser, limit: Limit) -> None:
    limit(address="1/minute")
    page = {"accept": "text/html"}
    assert client.get("/", headers=page).status_code == 200
    response = client.get("/", headers=page)
    assert (response.status_code, response["Content-Type"]) == (429, "text/html; charset=utf-8")
    assert f"Expected available in {response['Retry-After']} seconds." in response.content.decode()


@pytest.mark.parametrize("shared", [True, False])
def test_it_is_over_when_it_said(
    api: APIClient, limit: Limit, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    if shared:
        request.getfixturevalue("shared_cache")
    limit(address="2/hour")
    assert statuses(api, "/", 3) == [200, 200, 429]
    wait = int(api.get("/")["Retry-After"])
    if shared:  # as Redis does when that time has passed
        cache.delete_pattern("*")  # type: ignore[attr-defined] # django-redis
    begin = time.monotonic()
    monkeypatch.setattr(rate_limits, "monotonic", lambda: begin + wait - 10)
    assert api.get("/").status_code == 429
    monkeypatch.setattr(rate_limits, "monotonic", lambda: begin + wait + 1)
    assert statuses(api, "/", 3) == [200, 200, 429]


def test_several_limits_of_one_name_all_hold(api: APIClient, limit: Limit) -> None:
    limit(address="2/second;3/hour")
    assert statuses(api, "/", 3) == [200, 200, 429]
    limit(address="9/second;3/hour")
    client = APIClient()
    assert statuses(client, "/", 4) == [200, 200, 200, 429]
    assert int(client.get("/")["Retry-After"]) > 3500


def test_off_counts_nothing(api: APIClient, settings: Settings) -> None:
    settings.RATE_LIMITS = {}
    with patch.object(RateLimiter, "hit", side_effect=AssertionError), patch.object(RateLimiter, "refused") as asked:
        assert api.get("/").status_code == 200
    asked.assert_not_called()


# --- Per address ---------------------------------------------------------------------------------


def test_each_address_has_its_own_count(api: APIClient, limit: Limit) -> None:
    limit(address="2/minute")
    assert statuses(api, "/", 3, REMOTE_ADDR="192.0.2.1") == [200, 200, 429]
    assert statuses(api, "/", 3, REMOTE_ADDR="192.0.2.2") == [200, 200, 429]


def test_everything_counts_but_health_static_files_and_what_others_ask(
    api: APIClient, limit: Limit, settings: Settings
) -> None:
    limit(address="4/minute")
    for url in ["/health", "/static/admin/css/base.css"] * 3:
        response = api.get(url)
        response.close()
        assert response.status_code == 200
    counted = ("/nothing", PROFILE, "/media/nothing", "/admin/")
    assert [api.get(url).status_code for url in counted] == [404, 401, 404, 302]
    assert [api.get(url).status_code for url in counted] == [429] * 4
    assert api.get("/health").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_readiness_is_not_limited(api: APIClient, limit: Limit) -> None:
    limit(address="1/minute")
    assert statuses(api, "/ready", 3) == [200, 200, 200]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "are_one"),
    [
        (0, ["203.0.113.1", "203.0.113.2"], True),
        (1, ["203.0.113.1", "203.0.113.2"], False),
        (1, ["9.9.9.9, 203.0.113.1", "8.8.8.8, 203.0.113.1"], True),
        (2, ["203.0.113.1, 10.0.0.1", "203.0.113.2, 10.0.0.1"], False),
        (2, ["9.9.9.9, 203.0.113.1, 10.0.0.1", "8.8.8.8, 203.0.113.1, 10.0.0.2"], True),
    ],
)
def test_only_what_proxies_of_ours_have_written_is_believed(
    api: APIClient, limit: Limit, settings: Settings, proxies: int, forwarded: list[str], are_one: bool
) -> None:
    limit(address="1/minute")
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    got = [api.get("/", headers={"x-forwarded-for": each}).status_code for each in forwarded]
    assert got == ([200, 429] if are_one else [200, 200])


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_a_client_has_one_address_of_ipv4_or_a_network_of_ipv6(address: str, network: str) -> None:
    assert network_of(address) == network


def test_a_refused_address_costs_nothing(log_in: LogIn, limit: Limit) -> None:
    client = log_in()
    limit(address="1/minute")
    client.get("/")
    assert client.get(PROFILE).status_code == 429
    with sends(0), patch.object(RateLimiter, "_hit_together", side_effect=AssertionError):
        assert client.get(PROFILE).status_code == 429


# --- Per user ------------------------------------------------------------------------------------


def test_users_of_one_address_have_their_own_counts(log_in: LogIn, limit: Limit) -> None:
    limit(user="2/minute")
    assert statuses(one := log_in(), PROFILE, 3) == [200, 200, 429]
    assert statuses(log_in(), PROFILE, 3) == [200, 200, 429]
    assert one.get("/").status_code == 200  # where nobody asks who it is


def test_a_user_has_one_count_whatever_the_address_the_session_or_the_way_in(log_in: LogIn, limit: Limit) -> None:
    limit(user="3/minute")
    client = log_in()
    browser = Browser()
    browser.force_login(client.user)
    browser.handler = client.handler
    assert client.get(PROFILE, REMOTE_ADDR="192.0.2.1").status_code == 200
    assert client.get(PROFILE, REMOTE_ADDR="192.0.2.2").status_code == 200
    assert browser.get(PROFILE).status_code == 200
    assert browser.get(PROFILE, REMOTE_ADDR="192.0.2.3").status_code == 429
    assert client.get(PROFILE, REMOTE_ADDR="192.0.2.3").status_code == 429


def test_staff_pages_count_too(client: Browser, limit: Limit) -> None:
    limit(user="2/minute")
    client.force_login(UserFactory(role=Role.ADMIN))
    assert [client.get("/admin/").status_code for _ in range(3)] == [200, 200, 429]


def test_an_ended_session_counts_for_nobody(log_in: LogIn, limit: Limit) -> None:
    limit(user="1/minute")
    thief, owner = log_in(), LoggedIn()
    pair = services.users().log_in(login=thief.user.email, password=PASSWORD, client=Client("", ""))
    Session.objects.exclude(pk=services.users().authenticate(access_token=pair.access).session_id).delete()
    owner.handler = thief.handler
    owner.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
    assert statuses(thief, PROFILE, 3) == [401, 401, 401]
    assert statuses(owner, PROFILE, 2) == [200, 429]


def test_it_costs_no_query(log_in: LogIn, limit: Limit) -> None:
    limit(address="9/minute", user="9/minute")
    client = log_in()
    with sends(SESSION + 1):
        assert client.get(PROFILE).status_code == 200
    with sends(0):
        assert client.get("/.well-known/jwks.json").status_code == 200


def test_a_database_that_is_away_is_said_as_ever(log_in: LogIn, limit: Limit, settings: Settings) -> None:
    limit(user="9/minute")
    settings.DEBUG = True
    client = log_in()
    with patch.object(services.users(), "authenticate", side_effect=OperationalError("secret")):
        response = client.get(PROFILE)
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.json()["errors"][0]["code"] == "database_unavailable"


# --- Tighter limits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "first"),
    [
        (f"{API}/users/register", 400),
        (f"{API}/users", 400),
        (f"{API}/users/login", 400),
        (f"{API}/users/token/refresh", 400),
        (f"{API}/users/password/change", 401),
        ("/admin/login/", 200),
        ("/api/auth/login/", 200),
    ],
)
def test_credentials_are_limited_per_address(api: APIClient, limit: Limit, url: str, first: int) -> None:
    limit(credentials="1/minute", address="100/minute")
    assert api.post(url, {}, format="multipart" if first == 200 else "json").status_code == first
    response = api.post(url, {}, format="multipart" if first == 200 else "json")
    assert response.status_code == 429
    assert 1 <= int(response["Retry-After"]) <= 60
    assert api.post(f"{API}/users/login", {}).status_code == 429  # they are counted together
    assert api.post(f"{API}/users/login", {}, REMOTE_ADDR="192.0.2.1").status_code == 400
    assert api.get("/").status_code == 200


def test_a_page_with_a_form_is_not_a_try(api: APIClient, limit: Limit) -> None:
    limit(credentials="1/minute")
    assert statuses(api, "/admin/login/", 3) == [200, 200, 200]


def test_paying_is_limited_per_user(log_in: LogIn, limit: Limit) -> None:
    limit(payments="1/minute")
    customer, other = log_in(), log_in()
    other.handler = customer.handler
    orders = [place(each.user.id, (make_product(), 1)) for each in (customer, customer, other)]
    body = {"method": "card", "token": "tok_visa"}
    urls = [f"{API}/orders/{order.id}/pay" for order in orders]
    assert customer.post(urls[0], body).status_code == 200
    assert customer.post(urls[1], body, REMOTE_ADDR="192.0.2.1").status_code == 429
    assert Payment.objects.filter(order_id=orders[1].id).count() == 0
    assert other.post(urls[2], body).status_code == 200
    assert customer.get(f"{API}/orders").status_code == 200


def test_searching_is_limited_per_address_for_those_who_are_not_logged_in(log_in: LogIn, limit: Limit) -> None:
    limit(search="2/minute")
    somebody = log_in()
    search = f"{PRODUCTS}/search?q=lamp"
    assert statuses(somebody, search, 4) == [200] * 4
    nobody = APIClient()
    nobody.handler = somebody.handler
    assert nobody.head(search).status_code == 200
    assert statuses(nobody, search, 2) == [200, 429]
    nobody.credentials(HTTP_AUTHORIZATION="Bearer forged", HTTP_COOKIE="sessionid=forged")
    assert nobody.get(search).status_code == 429
    assert statuses(nobody, search, 3, REMOTE_ADDR="192.0.2.1") == [401, 401, 429]
    assert APIClient().get(PRODUCTS).status_code == 200


def test_the_routes_of_tighter_limits_exist() -> None:
    assert {route for _, route in TIGHTER} <= set(_routes(get_resolver()))


def _routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for each in resolver.url_patterns:
        here = before + str(each.pattern)
        if isinstance(each, URLPattern):
            yield here
        else:
            yield from _routes(each, here)


def test_whatever_takes_a_password_or_a_token_has_a_tighter_limit() -> None:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    secrets = {"password", "old_password", "new_password", "refresh", "token"}
    takes = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if secrets & document["components"]["schemas"].get(name, {}).get("properties", {}).keys():
                takes.add((method.upper(), re.sub(r"{(\w+)}", r"<uuid:\1>", path).removeprefix("/")))
    assert len(takes) >= 6
    assert takes <= TIGHTER.keys()


# --- The quick ways ------------------------------------------------------------------------------


def test_placing_orders_quickly_counts_for_address_and_user(log_in: LogIn, limit: Limit) -> None:
    limit(address="4/minute", user="2/minute")
    customer, other = log_in(), log_in()
    other.handler = customer.handler
    body = {"items": [{"product_id": str(make_product().id), "quantity": 1}]}
    assert [customer.post(f"{API}/orders", body).status_code for _ in range(3)] == [201, 201, 429]
    assert [other.post(f"{API}/orders", body).status_code for _ in range(2)] == [201, 429]
    assert Order.objects.count() == 3


@pytest.mark.usefixtures("shared_cache")
def test_reading_products_quickly_counts_for_the_address(api: APIClient, limit: Limit) -> None:
    product = make_product()
    url = f"{PRODUCTS}/{product.id}"
    api.get(url)
    limit(address="2/minute")
    with sends(0):
        assert statuses(APIClient(), url, 3) == [200, 200, 429]


def test_one_look_at_the_token_serves_all(log_in: LogIn, limit: Limit) -> None:
    limit(user="9/minute")
    body = {"items": [{"product_id": str(make_product().id), "quantity": 1}]}
    client = log_in()
    users = services.users()
    with patch.object(users, "authenticate", wraps=users.authenticate) as asked:
        assert client.get(PROFILE).status_code == 200
        assert client.post(f"{API}/orders", body).status_code == 201
    assert asked.call_count == 2


# --- Redis ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shared_cache")
def test_processes_that_share_a_redis_share_the_counts() -> None:
    limits = {"address": parse_many("3/minute")}
    one, two = RateLimiter(limits), RateLimiter(limits)
    assert [each.hit(address="a") for each in (one, two, one)] == [0, 0, 0]
    assert 55 < two.hit(address="a") <= 60
    assert 55 < one.hit(address="a") <= 60
    assert one.hit(address="b") == 0


def test_processes_without_a_redis_count_by_themselves() -> None:
    limits = {"address": parse_many("1/minute")}
    assert [RateLimiter(limits).hit(address="a") for _ in range(2)] == [0, 0]


@pytest.mark.usefixtures("shared_cache")
def test_all_limits_of_a_request_cost_one_command(log_in: LogIn, limit: Limit) -> None:
    limit(address="9/minute", user="9/minute", payments="9/minute", search="9/minute", credentials="9/minute")
    client, server = log_in(), get_redis_connection("default")
    url = f"{API}/orders/{new_id()}/pay"
    client.post(url, {})
    sent: list[str] = []
    execute = redis.Redis.execute_command

    def spy(self: redis.Redis, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        sent.append(str(arguments[0]))
        return execute(self, *arguments, **options)  # type: ignore[no-untyped-call]  # the library's

    with patch.object(redis.Redis, "execute_command", spy):
        client.post(url, {})
    assert sent == ["GET", "EVALSHA"]  # whether the session lives, and the counts
    kept = server.keys(cache.make_key("limits:*"))
    assert len(kept) == 3
    assert all(50 < server.ttl(key) <= 60 for key in kept)


def test_while_redis_is_away_the_process_counts(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with door(needs_redis(), default_port=6379) as redis_door:
        options = {"CONNECTION_POOL_CLASS": "apps.common.redis_pool.CautiousPool"}
        settings.CACHES = {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": redis_door.url,
                "KEY_PREFIX": uuid4().hex,
                "OPTIONS": options,
            }
        }
        settings.SHARED_CACHE = True
        limiter = RateLimiter({"address": parse_many("2/minute")})
        assert limiter.hit(address="a") == 0
        redis_door.down()
        assert [limiter.hit(address="b") > 0 for _ in range(3)] == [False, False, True]
        redis_door.up()
        with patch("apps.common.redis_pool.monotonic", lambda: time.monotonic() + 2):
            assert [limiter.hit(address="a") > 0 for _ in range(2)] == [False, True]
            cache.delete_pattern("*")  # type: ignore[attr-defined] # django-redis
        get_redis_connection("default").connection_pool.disconnect()
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Redis, where")]
    assert [line.partition(" counted, ")[2].partition(" (")[0].partition(", after")[0] for line in said] == [
        "does not answer",
        "answers again",
    ]


def test_what_has_ended_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, (limit,) = rate_limits.Windows(), parse_many("1/second")
    for number in range(1000):
        windows.hit(f"old {number}", limit)
    later = time.monotonic() + 2
    monkeypatch.setattr(rate_limits, "monotonic", lambda: later)
    windows.hit("new", limit)
    assert list(windows._windows) == ["new"]
