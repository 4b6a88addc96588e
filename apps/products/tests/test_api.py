"""The products service over REST."""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from rest_framework.test import APIClient

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.products import models
from apps.products.api.serializers import CategorySchema, ProductSchema, StockLevelSchema, StockMovementSchema
from apps.products.interface import ProductChange, StockLine
from apps.products.services import LocalProductService
from apps.products.tests.factories import make_category, make_product
from apps.users.interface import Role
from tests.flow import SESSION, sends

pytestmark = pytest.mark.django_db
service = LocalProductService()

LogIn = Callable[..., APIClient]
PRODUCTS = "/api/v1/products"
CATEGORIES = "/api/v1/categories"
# Reading and writing, and the event.
CREATE_QUERIES = SESSION + 6
PATCH_QUERIES = SESSION + 4
DELETE_QUERIES = SESSION + 4
ADJUST_QUERIES = SESSION + 5
CATEGORY_QUERIES = SESSION + 4


@pytest.fixture
def staff(log_in: LogIn) -> APIClient:
    return log_in(Role.CATALOG_STAFF)


def url(product_id: UUID, rest: str = "") -> str:
    return f"{PRODUCTS}/{product_id}{rest}"


def error(response: Any, status: int, attr: str | None = None) -> str:  # noqa: ANN401 - a test client's
    """The code of the one error that the response tells."""
    assert response.status_code == status, response.content
    (problem,) = response.json()["errors"]
    assert problem["attr"] == attr
    code: str = problem["code"]
    return code


def names(response: Any) -> list[str]:  # noqa: ANN401 - a test client's
    assert response.status_code == 200, response.content
    return [product["name"] for product in response.json()["results"]]


def event_count() -> int:
    return OutboxEvent.objects.using(alias_of("products")).count()


class TestList:
    def test_a_page(self, api: APIClient) -> None:
        make_product(name="A", sku="A-1", price=Decimal("9.9"), category="Lights", stock=3, tags=["x"])

        body = api.get(PRODUCTS).json()

        assert (body["count"], body["next"], body["previous"]) == (1, None, None)
        (product,) = body["results"]
        row = models.Product.objects.get()
        assert product == {
            "id": str(row.id),
            "name": "A",
            "description": "",
            "price": "9.90",
            "currency": "USD",
            "category": "Lights",
            "category_id": str(row.category_id),
            "group": "",
            "stock": 3,
            "sku": "A-1",
            "images": [],
            "tags": ["x"],
            "attributes": {},
            "active": True,
            "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
            "updated_at": row.updated_at.isoformat().replace("+00:00", "Z"),
        }

    def test_pages_and_their_queries(self, api: APIClient) -> None:
        category = make_category(name="Lights")
        for n in range(25):
            make_product(name=f"P{n:02}", category="Lights", tags=["t"])

        for size in (1, 5, 100):
            with sends(6, on_mongodb=7):
                query = {"category": str(category.id), "in_stock": "true", "tag": "t", "page_size": str(size)}
                assert len(names(api.get(PRODUCTS, query))) == min(size, 25)
        with sends(4):
            assert names(api.get(PRODUCTS))[:2] == ["P24", "P23"]
        assert len(names(api.get(PRODUCTS, {"page": 2}))) == 5
        assert error(api.get(PRODUCTS, {"page": 3}), 404) == "not_found"
        assert error(api.get(PRODUCTS, {"page": "x"}), 404) == "not_found"

    def test_filters(self, api: APIClient) -> None:
        top = make_category(name="Home")
        make_category(name="Lights", slug="bright", parent_id=top.id)
        make_product(name="lamp", category="Lights", price=Decimal(20), tags=["a%", "b"], stock=0)
        make_product(name="sofa", category="Home", price=Decimal(30), tags=["a"])
        make_product(name="loose", price=Decimal(10))

        expected: list[tuple[dict[str, str], list[str]]] = [
            ({"category": str(top.id)}, ["lamp", "sofa"]),
            ({"category": "HOME"}, ["lamp", "sofa"]),
            ({"category": "bright"}, ["lamp"]),
            ({"category": "lights"}, ["lamp"]),
            ({"category": "nowhere"}, []),
            ({"category": str(new_id())}, []),
            ({"min_price": "20"}, ["lamp", "sofa"]),
            ({"max_price": "20.00"}, ["lamp", "loose"]),
            ({"min_price": "30", "max_price": "20"}, []),
            ({"tag": "a"}, ["sofa"]),
            ({"tag": "a%"}, ["lamp"]),
            ({"tag": "A"}, []),
            ({"in_stock": "true"}, ["loose", "sofa"]),
            ({"in_stock": "false"}, ["lamp"]),
            ({"category": "", "min_price": "", "utm_source": "mail", "active": "false"}, ["lamp", "loose", "sofa"]),
        ]
        for query, found in expected:
            assert names(api.get(PRODUCTS, {**query, "ordering": "name"})) == found, query

    def test_ordering(self, api: APIClient) -> None:
        for name, price in (("b", 2), ("a", 2), ("c", 1)):
            make_product(name=name, price=Decimal(price))

        expected = {
            "price": "cba",
            "-price": "abc",
            "name": "abc",
            "-name": "cba",
            "created_at": "bac",
            "-created_at": "cab",
        }
        for ordering, order in expected.items():
            assert "".join(names(api.get(PRODUCTS, {"ordering": ordering}))) == order, ordering

    @pytest.mark.parametrize(
        ("name", "value", "code"),
        [
            ("ordering", "stock", "invalid_choice"),
            ("ordering", "price,name", "invalid_choice"),
            ("min_price", "NaN", "invalid"),
            ("min_price", "-1", "min_value"),
            ("max_price", "1e400", "max_digits"),
            ("max_price", "Infinity", "invalid"),
            ("max_price", "ten", "invalid"),
            ("max_price", "0." + "1" * 20, "max_digits"),
            ("in_stock", "maybe", "invalid"),
            ("tag", "x" * 51, "max_length"),
            ("category", "x" * 101, "max_length"),
            ("category", "a\x01b", "control_characters"),
        ],
    )
    def test_bad_values(self, api: APIClient, name: str, value: str, code: str) -> None:
        for path in (PRODUCTS, f"{PRODUCTS}/search"):
            if (path, name) != (f"{PRODUCTS}/search", "ordering"):
                assert error(api.get(path, {name: value}), 400, name) == code

    def test_only_staff_see_inactive_products(self, api: APIClient, staff: APIClient, log_in: LogIn) -> None:
        hidden = make_product(name="hidden", active=False)
        make_product(name="shown")

        for client in (api, log_in(Role.ORDER_STAFF)):
            assert names(client.get(PRODUCTS, {"active": "false"})) == ["shown"]
            assert error(client.get(url(hidden.id)), 404) == "product_not_found"
        assert names(staff.get(PRODUCTS)) == ["shown", "hidden"]
        assert names(staff.get(PRODUCTS, {"active": "false"})) == ["hidden"]
        assert staff.get(url(hidden.id)).json()["active"] is False
        assert names(log_in(Role.ADMIN).get(PRODUCTS)) == ["shown", "hidden"]


class TestSearch:
    def test_a_page_with_facets(self, api: APIClient) -> None:
        for n in range(3):
            make_product(name="智能手机", price=Decimal(20 + n), category="Phones", tags=["a"], sku=f"S{n}")
        make_product(name="手机壳", category="Cases", price=Decimal(5), sku="S9")
        make_product(name="Lamp", category="Phones")

        with sends(7):
            body = api.get(f"{PRODUCTS}/search", {"q": "手机", "page_size": "2"}).json()
        with sends(9):
            narrow = api.get(f"{PRODUCTS}/search", {"q": "手机", "category": "cases"}).json()

        assert (body["count"], len(body["results"]), body["previous"]) == (4, 2, None)
        assert body["next"] == "http://testserver/api/v1/products/search?page=2&page_size=2&q=%E6%89%8B%E6%9C%BA"
        ids = {row.name: str(row.id) for row in models.Category.objects.all()}
        assert body["facets"] == {
            "categories": [
                {"id": ids["Phones"], "name": "Phones", "slug": "phones", "count": 3},
                {"id": ids["Cases"], "name": "Cases", "slug": "cases", "count": 1},
            ],
            "tags": [{"tag": "a", "count": 3}],
            "price_bands": [{"min": "0", "max": "10", "count": 1}, {"min": "10", "max": "25", "count": 3}],
        }
        assert [product["sku"] for product in narrow["results"]] == ["S9"]

    @pytest.mark.parametrize("query", [{}, {"q": ""}, {"q": "?!"}, {"q": "absent"}, {"q": "lamp", "category": "no"}])
    def test_nothing_found(self, api: APIClient, query: dict[str, str]) -> None:
        make_product(name="Lamp")

        assert api.get(f"{PRODUCTS}/search", query).json() == {
            "count": 0,
            "next": None,
            "previous": None,
            "results": [],
            "facets": {"categories": [], "tags": [], "price_bands": []},
        }

    def test_limits(self, api: APIClient) -> None:
        assert error(api.get(f"{PRODUCTS}/search", {"q": "x" * 201}), 400, "q") == "max_length"
        assert error(api.get(f"{PRODUCTS}/search", {"q": "x", "page": "2"}), 404) == "not_found"


class TestVariants:
    def test_are_listed_with_each_other(self, api: APIClient, staff: APIClient) -> None:
        red = make_product(name="Shirt", group="shirt", attributes={"colour": "red", "fit": "slim"})
        blue = staff.post(
            PRODUCTS, {"name": "Shirt", "price": 5, "group": "shirt", "attributes": {"colour": "blue", "fit": "slim"}}
        ).json()
        make_product(name="Shirt", group="shirt", active=False)
        make_product(name="Shirt", group="shirts")

        with sends(4):
            body = api.get(f"{PRODUCTS}/{blue['id']}/variants").json()

        assert (body["group"], body["attributes"]) == ("shirt", {"colour": ["red", "blue"]})
        assert [each["id"] for each in body["results"]] == [str(red.id), blue["id"]]
        assert [each["id"] for each in api.get(PRODUCTS, {"group": "shirt"}).json()["results"]] == [
            blue["id"],
            str(red.id),
        ]

    def test_a_product_without_a_group_is_alone(self, api: APIClient) -> None:
        product = make_product()
        make_product()

        body = api.get(f"{PRODUCTS}/{product.id}/variants").json()

        assert (body["group"], body["attributes"]) == ("", {})
        assert [each["id"] for each in body["results"]] == [str(product.id)]

    def test_an_inactive_product_has_none_to_show(self, api: APIClient) -> None:
        product = make_product(active=False, group="g")
        assert error(api.get(f"{PRODUCTS}/{product.id}/variants"), 404) == "product_not_found"

    def test_a_group_is_changed_and_emptied(self, staff: APIClient) -> None:
        product = make_product(group="a")
        address = f"{PRODUCTS}/{product.id}"

        assert staff.patch(address, {"group": "b"}).json()["group"] == "b"
        assert staff.patch(address, {"group": ""}).json()["group"] == ""
        assert error(staff.patch(address, {"group": "x" * 65}), 400, "group") == "max_length"


class TestAttributes:
    def test_filter_lists_and_searches(self, api: APIClient) -> None:
        for colour, watts in (("red", 5), ("blue", 5), ("red", 7)):
            make_product(name=f"Lamp {colour} {watts}", attributes={"colour": colour, "watts": watts})

        assert names(api.get(PRODUCTS, {"attributes[colour]": "red", "attributes[watts]": "7"})) == ["Lamp red 7"]
        assert names(api.get(PRODUCTS, {"attributes[watts]": ["5", "9"]})) == ["Lamp blue 5", "Lamp red 5"]
        assert names(api.get(f"{PRODUCTS}/search", {"q": "lamp", "attributes[colour]": "blue"})) == ["Lamp blue 5"]
        assert len(names(api.get(PRODUCTS, {"attributes[colour]": "", "attributes": "x", "attributes[": "y"}))) == 3

    @pytest.mark.parametrize(
        "query",
        [
            {f"attributes[{n}]": "x" for n in range(21)},
            {"attributes[a]": ["x"] * 21},
            {"attributes[a]": "x" * 201},
            {f"attributes[{'x' * 51}]": "a"},
        ],
    )
    def test_are_bounded(self, api: APIClient, query: dict[str, Any]) -> None:
        assert error(api.get(PRODUCTS, query), 400, "attributes") == "invalid"


class TestOddTexts:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", "Lamp \ud800"),
            ("description", "\udfff"),
            ("tags", ["\ud800"]),
            ("attributes", {"x": "\ud800"}),
            ("attributes", {"\ud800": "x"}),
        ],
    )
    def test_half_a_character_is_refused(self, staff: APIClient, field: str, value: object) -> None:
        body = json.dumps({"name": "Lamp", "price": 1, field: value})

        response = staff.generic("POST", PRODUCTS, body, content_type="application/json")

        assert response.status_code == 400
        assert not models.Product.objects.exists()

    def test_a_name_that_becomes_long_is_cut_where_lists_are_ordered(self, staff: APIClient) -> None:
        assert staff.post(PRODUCTS, {"name": "ﷺ" * 200, "price": 1}).status_code == 201
        assert names(staff.get(PRODUCTS, {"ordering": "name"})) == ["ﷺ" * 200]

    @pytest.mark.parametrize(("before", "after"), [(1, True), (True, 1), (0, False), (1.0, True)])
    def test_one_is_not_true(self, staff: APIClient, before: object, after: object) -> None:
        product = make_product(attributes={"led": before})
        address = f"{PRODUCTS}/{product.id}"

        assert staff.patch(address, {"attributes": {"led": after}}).status_code == 200
        found = staff.get(address).json()["attributes"]["led"]
        assert (found, type(found)) == (after, type(after))


class TestOrdering:
    def test_a_search_in_another_order(self, api: APIClient) -> None:
        for name, price in (("Lamp b", 3), ("lamp a", 1), ("Lämp c", 2)):
            make_product(name=name, price=Decimal(price))

        def ordered(by: str) -> list[str]:
            return names(api.get(f"{PRODUCTS}/search", {"q": "lamp", "ordering": by}))

        assert ordered("name") == ["lamp a", "Lamp b", "Lämp c"]
        assert ordered("-price") == ["Lamp b", "Lämp c", "lamp a"]
        assert ordered("-created_at") == ["Lämp c", "lamp a", "Lamp b"]
        assert sorted(ordered("relevance")) == sorted(ordered("name"))

    def test_names_are_in_one_order_on_every_database(self, api: APIClient) -> None:
        wanted = ["a b", "A c", "ab", "Ábc", "b", "B", "Z", "é", "手"]
        for name in sorted(wanted, reverse=True):
            make_product(name=name)

        assert names(api.get(PRODUCTS, {"ordering": "name"})) == [
            "a b", "A c", "ab", "Ábc", "B", "b", "é", "Z", "手",
        ]  # fmt: skip


class TestSuggest:
    def test_offers_categories_and_products(self, api: APIClient) -> None:
        product = make_product(name="Lamp", category="Lampshades")

        body = api.get(f"{PRODUCTS}/suggest", {"q": "lam"}).json()

        assert body == {
            "results": [
                {"type": "category", "id": str(product.category_id), "text": "Lampshades"},
                {"type": "product", "id": str(product.id), "text": "Lamp"},
            ]
        }
        assert api.get(f"{PRODUCTS}/suggest").json() == {"results": []}
        assert error(api.get(f"{PRODUCTS}/suggest", {"q": "x", "limit": "21"}), 400, "limit") == "max_value"


class TestCreate:
    def test_the_walk_through(self, staff: APIClient) -> None:
        make_category(name="Electronics")
        new = {"name": "Test Product", "price": 99.99, "stock": 100, "category": "Electronics"}

        with sends(CREATE_QUERIES, on_mongodb=CREATE_QUERIES + 1):  # the SKU
            response = staff.post(PRODUCTS, new)

        assert response.status_code == 201
        product = response.json()
        assert (product["price"], product["stock"], product["category"]) == ("99.99", 100, "Electronics")
        assert product["sku"].startswith("TEST-")
        assert response["Location"] == f"http://testserver{PRODUCTS}/{product['id']}"
        assert response["ETag"] == '"1-100"'
        assert staff.get(response["Location"]).json() == product
        assert models.StockMovement.objects.get().actor_id == staff.user.id  # type: ignore[attr-defined]

    def test_what_the_shop_chooses(self, staff: APIClient) -> None:
        new = {"name": " Lamp ", "price": "5", "sku": "", "category": None, "id": "mine", "created_at": 5}

        product = staff.post(PRODUCTS, new).json()

        assert (product["name"], product["price"], product["category"]) == ("Lamp", "5.00", None)
        assert UUID(product["id"]).version == 7
        assert product["sku"].startswith("LAMP-")

    @pytest.mark.parametrize(
        ("field", "value", "attr", "code"),
        [
            ("name", "", "name", "blank"),
            ("name", None, "name", "null"),
            ("name", "x" * 201, "name", "max_length"),
            ("name", "a\nb", "name", "control_characters"),
            ("name", "a\x1bb", "name", "control_characters"),
            ("name", ["a"], "name", "invalid"),
            ("name", True, "name", "invalid"),
            ("description", "a\x07b", "description", "control_characters"),
            ("description", "x" * 10_001, "description", "max_length"),
            ("price", "NaN", "price", "invalid"),
            ("price", "1e400", "price", "max_digits"),
            ("price", "0." + "1" * 20, "price", "max_digits"),
            ("price", "1.001", "price", "invalid_price"),
            ("price", "1.00001", "price", "max_decimal_places"),
            ("price", -1, "price", "min_value"),
            ("price", True, "price", "invalid"),
            ("price", {"amount": 1}, "price", "invalid"),
            ("price", None, "price", "null"),
            ("currency", "XXX", "currency", "unknown_currency"),
            ("currency", "DOLLAR", "currency", "unknown_currency"),
            ("currency", "", "currency", "blank"),
            ("stock", -1, "stock", "min_value"),
            ("stock", 1.5, "stock", "invalid"),
            ("stock", 10**9 + 1, "stock", "max_value"),
            ("stock", "many", "stock", "invalid"),
            ("sku", "x" * 65, "sku", "max_length"),
            ("category", "x" * 101, "category", "max_length"),
            ("tags", "a", "tags", "not_a_list"),
            ("tags", ["x" * 51], "tags.0", "max_length"),
            ("tags", [""], "tags.0", "blank"),
            ("tags", [["a"]], "tags.0", "invalid"),
            ("tags", ["t"] * 21, "tags", "max_length"),
            ("attributes", [], "attributes", "not_a_dict"),
            ("attributes", {"a": {}}, "attributes", "invalid_attributes"),
            ("attributes", {"a": [1]}, "attributes", "invalid_attributes"),
            ("attributes", {"": 1}, "attributes", "invalid_attributes"),
            ("attributes", {"a": "\x00"}, "attributes", "invalid_attributes"),
            ("attributes", {"a": "x" * 201}, "attributes", "invalid_attributes"),
            ("attributes", {str(n): n for n in range(51)}, "attributes", "invalid_attributes"),
            ("active", "maybe", "active", "invalid"),
            ("prize", 1, "prize", "unknown_field"),
            ("revision", 1, "revision", "unknown_field"),
        ],
    )
    def test_bad_input_changes_nothing(self, staff: APIClient, field: str, value: object, attr: str, code: str) -> None:
        response = staff.post(PRODUCTS, {"name": "Lamp", "price": 1, "category": "New", field: value})

        assert error(response, 400, attr) == code
        assert response.json()["type"] == "validation_error"
        assert not models.Product.objects.exists()
        assert not models.Category.objects.exists()
        assert event_count() == 0

    def test_nul_characters(self, staff: APIClient) -> None:
        response = staff.post(PRODUCTS, {"name": "a\0b", "price": 1, "description": "a\0b", "tags": ["a\0b"]})

        assert response.status_code == 400
        assert {problem["attr"] for problem in response.json()["errors"]} == {"name", "description", "tags.0"}

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ("{", "parse_error"),
            ('{"name": NaN}', "parse_error"),
            ('{"price": 1e400}', "parse_error"),
            ("[" * 2000, "parse_error"),
            ("[]", "invalid"),
            ("5", "invalid"),
        ],
    )
    def test_bad_bodies(self, staff: APIClient, body: str, code: str) -> None:
        response = staff.post(PRODUCTS, body, content_type="application/json")

        assert response.status_code == 400
        assert response.json()["errors"][0]["code"] == code

    def test_scalar_attributes(self, staff: APIClient) -> None:
        attributes = {"colour": "red", "watts": 60, "volts": 1.5, "dimmable": True, "maker": None}

        product = staff.post(PRODUCTS, {"name": "Lamp", "price": 1, "attributes": attributes}).json()

        assert product["attributes"] == attributes

    def test_a_sku_that_is_taken(self, staff: APIClient) -> None:
        make_product(sku="one")

        assert error(staff.post(PRODUCTS, {"name": "x", "price": 1, "sku": "ONE"}), 409, "sku") == "sku_taken"


class TestRead:
    def test_one(self, api: APIClient) -> None:
        product = make_product(stock=3, category="Lights")

        with sends(2):
            response = api.get(url(product.id))

        assert response.json()["id"] == str(product.id)
        assert (response["ETag"], response["Cache-Control"]) == ('"1-3"', "no-cache")

    @pytest.mark.parametrize(
        ("header", "status"),
        [
            ('"1-3"', 304),
            ('W/"1-3"', 304),
            ('"0-0", W/"1-3"', 304),
            ("*", 304),
            ('"1-4"', 200),
            ('"2-3"', 200),
            ("1-3", 200),
            ("", 200),
            ("rubbish", 200),
        ],
    )
    def test_if_none_match(self, api: APIClient, header: str, status: int) -> None:
        product = make_product(stock=3)

        response = api.get(url(product.id), headers={"If-None-Match": header})

        assert response.status_code == status
        assert (response["ETag"], response["Cache-Control"]) == ('"1-3"', "no-cache")
        assert bool(response.content) == (status == 200)

    def test_unknown(self, api: APIClient) -> None:
        assert error(api.get(url(new_id())), 404) == "product_not_found"
        assert error(api.get(url(new_id()), headers={"If-None-Match": "*"}), 404) == "product_not_found"
        assert api.get(f"{PRODUCTS}/no-uuid").status_code == 404

    def test_images_have_absolute_addresses(self, api: APIClient) -> None:
        product = make_product()
        thumbnails = {size: f"products/a-{size}.webp" for size in ("small", "medium", "large")}
        image = {"id": str(new_id()), "alt": "front", "width": 4, "height": 3}
        image |= {"url": "products/a.jpg", "thumbnails": thumbnails}
        models.Product.objects.filter(pk=product.id).update(images=[image])

        (shown,) = api.get(url(product.id)).json()["images"]

        media = "http://testserver/media/products"
        addresses = {size: f"{media}/a-{size}.webp" for size in ("small", "medium", "large")}
        assert shown == {**image, "url": f"{media}/a.jpg", "thumbnails": addresses}

    def test_people_see_pages(self, staff: APIClient) -> None:
        product = make_product()

        for path in (PRODUCTS, url(product.id), url(product.id, "/stock/movements"), CATEGORIES):
            response = staff.get(path, headers={"Accept": "text/html"})
            assert (response.status_code, response["Content-Type"]) == (200, "text/html; charset=utf-8")

    def test_the_schema_tells_the_truth(self, staff: APIClient) -> None:
        product = make_product(category="Lights")

        def shown(path: str) -> set[str]:
            body = staff.get(path).json()
            return set(body["results"][0] if "results" in body else body)

        assert shown(url(product.id)) == set(ProductSchema().fields)
        assert shown(CATEGORIES) == set(CategorySchema().fields)
        assert shown(url(product.id, "/stock")) == set(StockLevelSchema().fields)
        assert shown(url(product.id, "/stock/movements")) == set(StockMovementSchema().fields)


class TestUpdate:
    def test_patch(self, staff: APIClient) -> None:
        product = make_product(name="Lamp", description="old", stock=3, category="Lights")

        with sends(PATCH_QUERIES):
            response = staff.patch(url(product.id), {"price": "12.5"})

        assert (response.status_code, response["ETag"]) == (200, '"2-3"')
        body = response.json()
        assert (body["name"], body["description"], body["price"]) == ("Lamp", "old", "12.50")
        assert staff.get(url(product.id)).json() == body

    def test_put_resets_what_it_leaves_out(self, staff: APIClient) -> None:
        product = make_product(
            description="old",
            category="Lights",
            tags=["a"],
            attributes={"a": 1},
            sku="KEPT",
            currency="EUR",
            active=False,
            stock=3,
        )

        body = staff.put(url(product.id), {"name": "New", "price": 5}).json()

        assert {name: body[name] for name in ("description", "category", "tags", "attributes")} == {
            "description": "",
            "category": None,
            "tags": [],
            "attributes": {},
        }
        assert (body["sku"], body["currency"], body["active"], body["stock"]) == ("KEPT", "EUR", False, 3)
        response = staff.put(url(product.id), {"name": "New"})
        assert error(response, 400, "price") == "required"

    def test_what_was_read_can_be_sent_back(self, staff: APIClient) -> None:
        product = make_product(category="Lights", tags=["a"], attributes={"a": 1}, stock=3)
        body = staff.get(url(product.id)).json()

        response = staff.put(url(product.id), body)

        assert (response.status_code, response.json()) == (200, body)

    def test_what_was_read_can_be_sent_back_after_a_sale(self, staff: APIClient) -> None:
        product = make_product(stock=3)
        read = staff.get(url(product.id))
        LocalProductService().adjust_stock(product_id=product.id, delta=-1, reason="sold")

        stale = staff.put(url(product.id), read.json())
        response = staff.put(url(product.id), read.json(), headers={"If-Match": read["ETag"]})

        assert error(stale, 400, "stock") == "stock_not_editable"
        assert (response.status_code, response.json()["stock"]) == (200, 2)

    def test_stock_is_not_edited(self, staff: APIClient) -> None:
        product = make_product(stock=3)

        response = staff.patch(url(product.id), {"stock": 4, "name": "New"})

        assert error(response, 400, "stock") == "stock_not_editable"
        assert f"{url(product.id)}/stock/adjust" in response.json()["errors"][0]["detail"]
        assert service.get_product(product_id=product.id) == product
        assert staff.patch(url(product.id), {"stock": 3, "name": "New"}).json()["name"] == "New"

    @pytest.mark.parametrize(
        ("header", "status"),
        [
            ('"1-3"', 200),
            ('"1-99"', 200),
            ('"7-3", "1-3"', 200),
            ("*", 200),
            ('"2-3"', 412),
            ('W/"1-3"', 412),
            ("1-3", 412),
            ('"1"', 412),
            ('"x-y"', 412),
            ("rubbish", 412),
            ("", 412),
            (f'"{"9" * 5000}-1"', 412),
        ],
    )
    def test_if_match(self, staff: APIClient, header: str, status: int) -> None:
        product = make_product(stock=3)

        for call in (staff.patch, staff.put):
            response = call(url(product.id), {"name": "New", "price": 10}, headers={"If-Match": header})
            assert response.status_code == status
            if status == 412:
                assert error(response, 412) == "precondition_failed"
                assert service.get_product(product_id=product.id) == product
            models.Product.objects.filter(pk=product.id).update(revision=1, name=product.name)
        assert staff.delete(url(product.id), headers={"If-Match": header}).status_code == (
            204 if status == 200 else 412
        )

    def test_a_sale_leaves_an_editors_form_fresh(self, staff: APIClient) -> None:
        product = make_product(stock=3)
        etag = staff.get(url(product.id))["ETag"]
        service.adjust_stock(product_id=product.id, delta=-1, reason="sold")

        assert staff.patch(url(product.id), {"name": "New"}, headers={"If-Match": etag}).status_code == 200
        assert staff.patch(url(product.id), {"name": "Late"}, headers={"If-Match": etag}).status_code == 412
        assert service.get_product(product_id=product.id).name == "New"

    def test_delete(self, staff: APIClient) -> None:
        product = make_product()

        with sends(DELETE_QUERIES):
            response = staff.delete(url(product.id))

        assert (response.status_code, response.content) == (204, b"")
        for call in (staff.get, staff.delete):
            assert error(call(url(product.id)), 404) == "product_not_found"
        assert error(staff.patch(url(product.id), {}, headers={"If-Match": '"1-1"'}), 404) == "product_not_found"
        assert error(staff.get(url(product.id, "/stock/movements")), 404) == "product_not_found"


class TestStock:
    def test_level_and_adjustment(self, staff: APIClient) -> None:
        product = make_product(stock=10)
        held = {"product_id": str(product.id), "on_hand": 10, "reserved": 4, "available": 6}
        service.reserve_stock(order_id=new_id(), lines=[StockLine(product.id, 4)], hold_for=timedelta(days=365))

        with sends(SESSION + 2):
            assert staff.get(url(product.id, "/stock")).json() == held
        with sends(ADJUST_QUERIES):
            response = staff.post(url(product.id, "/stock/adjust"), {"delta": 5, "reason": "delivery"})
        assert (response.status_code, response.json()) == (200, {**held, "on_hand": 15, "available": 11})
        response = staff.post(url(product.id, "/stock/adjust"), {"on_hand": 4, "reason": "count"})
        assert response.json() == {**held, "on_hand": 4, "available": 0}
        events = event_count()
        response = staff.post(url(product.id, "/stock/adjust"), {"delta": -1, "reason": "theft"})
        assert error(response, 409) == "stock_below_reserved"
        assert (service.get_stock(product_id=product.id).on_hand, event_count()) == (4, events)

    @pytest.mark.parametrize(
        ("body", "attr", "code"),
        [
            ({"reason": "x"}, None, "invalid"),
            ({"delta": 1, "on_hand": 1, "reason": "x"}, None, "invalid"),
            ({"delta": 1}, "reason", "required"),
            ({"delta": 1, "reason": ""}, "reason", "blank"),
            ({"delta": 1, "reason": "x" * 201}, "reason", "max_length"),
            ({"delta": 0, "reason": "x"}, "delta", "zero"),
            ({"delta": 10**9 + 1, "reason": "x"}, "delta", "max_value"),
            ({"delta": -(10**9) - 1, "reason": "x"}, "delta", "min_value"),
            ({"delta": "NaN", "reason": "x"}, "delta", "invalid"),
            ({"on_hand": -1, "reason": "x"}, "on_hand", "min_value"),
            ({"on_hand": 1, "reason": "x", "why": 1}, "why", "unknown_field"),
        ],
    )
    def test_bad_adjustments(self, staff: APIClient, body: dict[str, object], attr: str | None, code: str) -> None:
        product = make_product(stock=10)

        response = staff.post(url(product.id, "/stock/adjust"), body)

        assert error(response, 400, attr or "non_field_errors") == code
        assert models.StockMovement.objects.count() == 1

    def test_the_ledger(self, staff: APIClient) -> None:
        product = make_product(stock=10)
        make_product(stock=1)
        for n in range(3):
            service.adjust_stock(product_id=product.id, delta=n + 1, reason=f"delivery {n}")

        with sends(SESSION + 3):
            body = staff.get(url(product.id, "/stock/movements"), {"page_size": 3}).json()

        assert set(body) == {"next", "previous", "results"}
        assert [line["delta"] for line in body["results"]] == [3, 2, 1]
        assert (body["results"][0]["kind"], body["results"][0]["reason"]) == ("adjustment", "delivery 2")
        assert [line["delta"] for line in staff.get(body["next"]).json()["results"]] == [10]

    def test_unknown_product(self, staff: APIClient) -> None:
        for rest in ("/stock", "/stock/movements"):
            assert error(staff.get(url(new_id(), rest)), 404) == "product_not_found"
        response = staff.post(url(new_id(), "/stock/adjust"), {"delta": 1, "reason": "x"})
        assert error(response, 404) == "product_not_found"


class TestWhoMay:
    def test_writes_and_stock_are_for_catalogue_staff(self, api: APIClient, log_in: LogIn) -> None:
        product = make_product(category="Lights")
        events = event_count()
        category = f"{CATEGORIES}/{product.category_id}"
        calls = [
            ("post", PRODUCTS),
            ("put", url(product.id)),
            ("patch", url(product.id)),
            ("delete", url(product.id)),
            ("get", url(product.id, "/stock")),
            ("post", url(product.id, "/stock/adjust")),
            ("get", url(product.id, "/stock/movements")),
            ("post", CATEGORIES),
            ("put", category),
            ("patch", category),
            ("delete", category),
        ]
        for client, status, code in (
            (api, 401, "not_authenticated"),
            (log_in(Role.USER), 403, "permission_denied"),
            (log_in(Role.ORDER_STAFF), 403, "permission_denied"),
        ):
            for method, path in calls:
                assert error(getattr(client, method)(path, {"name": "x"}), status) == code, (method, path)
        assert event_count() == events

    def test_an_admin_may_too(self, log_in: LogIn) -> None:
        assert log_in(Role.ADMIN).post(PRODUCTS, {"name": "x", "price": 1}).status_code == 201


class TestCategories:
    def test_list_and_children(self, api: APIClient) -> None:
        parent = make_category(name="Home")
        child = make_category(name="Lights", parent_id=parent.id)

        with sends(2):
            body = api.get(CATEGORIES).json()
        assert [row["name"] for row in body["results"]] == ["Home", "Lights"]
        (row,) = api.get(CATEGORIES, {"parent_id": str(parent.id)}).json()["results"]
        assert row == {
            "id": str(child.id),
            "name": "Lights",
            "slug": "lights",
            "parent_id": str(parent.id),
            "created_at": child.created_at.isoformat().replace("+00:00", "Z"),
            "updated_at": child.updated_at.isoformat().replace("+00:00", "Z"),
        }
        with sends(1):
            assert api.get(f"{CATEGORIES}/{child.id}").json() == row
        assert error(api.get(CATEGORIES, {"parent_id": "x"}), 400, "parent_id") == "invalid"
        assert error(api.get(f"{CATEGORIES}/{new_id()}"), 404) == "category_not_found"

    def test_create_change_delete(self, staff: APIClient) -> None:
        with sends(CATEGORY_QUERIES):
            response = staff.post(CATEGORIES, {"name": "手机"})
        parent = response.json()
        assert (response.status_code, parent["slug"], parent["parent_id"]) == (201, "手机", None)
        path = response["Location"]
        child = staff.post(CATEGORIES, {"name": "Cases", "slug": "hüllen", "parent_id": parent["id"]}).json()
        assert (child["slug"], child["parent_id"]) == ("hüllen", parent["id"])

        assert staff.patch(path, {"name": "Phones"}).json()["slug"] == "手机"
        child_path = f"{CATEGORIES}/{child['id']}"
        assert staff.patch(child_path, {"slug": "cases"}).json()["parent_id"] == parent["id"]
        assert staff.put(child_path, {"name": "Cases"}).json()["parent_id"] is None
        assert staff.put(child_path, {**child, "slug": ""}).json()["slug"] == "cases"
        assert error(staff.put(child_path, {"slug": "x"}), 400, "name") == "required"
        assert staff.delete(child_path).status_code == 204
        assert staff.get(child_path).status_code == 404

    def test_conflicts(self, staff: APIClient) -> None:
        parent = make_category(name="Home")
        child = make_category(name="Lights", parent_id=parent.id)
        make_product(category="Lights")

        for path in (f"{CATEGORIES}/{parent.id}", f"{CATEGORIES}/{child.id}"):
            assert error(staff.delete(path), 409) == "category_in_use"
        response = staff.patch(f"{CATEGORIES}/{parent.id}", {"parent_id": str(child.id)})
        assert error(response, 409, "parent_id") == "category_cycle"
        assert error(staff.post(CATEGORIES, {"name": "HOME"}), 409, "name") == "category_exists"
        assert error(staff.post(CATEGORIES, {"name": "x", "slug": "home"}), 409, "slug") == "category_exists"
        response = staff.post(CATEGORIES, {"name": "x", "parent_id": str(new_id())})
        assert error(response, 404, "parent_id") == "category_not_found"

    @pytest.mark.parametrize(
        ("body", "attr", "code"),
        [
            ({}, "name", "required"),
            ({"name": "x" * 101}, "name", "max_length"),
            ({"name": "a\tb"}, "name", "control_characters"),
            ({"name": "x", "slug": "a b"}, "slug", "invalid"),
            ({"name": "x", "parent_id": "y"}, "parent_id", "invalid"),
            ({"name": "x", "path": "/"}, "path", "unknown_field"),
        ],
    )
    def test_bad_input(self, staff: APIClient, body: dict[str, str], attr: str, code: str) -> None:
        assert error(staff.post(CATEGORIES, body), 400, attr) == code
        assert not models.Category.objects.exists()


def test_a_change_reaches_the_list(api: APIClient) -> None:
    product = make_product(name="old")
    service.update_product(product_id=product.id, change=ProductChange(name="new"))

    assert names(api.get(PRODUCTS)) == ["new"]
