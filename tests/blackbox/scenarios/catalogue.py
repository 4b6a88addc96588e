"""Products, categories, searching and pictures."""

from io import BytesIO
from typing import Any

from PIL import Image

from tests.blackbox.callers import Answer
from tests.blackbox.matching import ANYTHING, COUNT, ID, SOMETHING, TIME, Mismatch, check, each, has, text
from tests.blackbox.stage import NOBODY, Stage

# Where a shop puts the picture's files is its own business; what kind they are is not.
_URL = text("address of a picture", r"https?://.+/.+\.(png|webp)")
_CACHED = "no-cache"


def product_of(**fields: object) -> dict[str, Any]:
    """A product as the API shows one."""
    usual = {"id": ID, "description": "", "currency": "USD", "category": None, "category_id": None, "group": ""}
    more = {"stock": 0, "sku": SOMETHING, "images": [], "tags": [], "attributes": {}, "active": True}
    return {**usual, **more, "created_at": TIME, "updated_at": TIME, **fields}


def etag_for(stock: int) -> object:
    """The entity tag of a product with that stock, whatever its revision."""
    return text("ETag", rf'"\d+-{stock}"')


def page_of(*results: object, count: int | None = None, **links: object) -> dict[str, Any]:
    """A page with these results."""
    total = len(results) if count is None else count
    return {"count": total, "next": None, "previous": None, "results": list(results), **links}


def adding_a_product(stage: Stage) -> None:
    name, category, sku = stage.name("Lamp "), stage.name("Lights "), stage.name("sku-")
    given = {
        "name": name,
        "description": "Two\nlines",
        "price": 99.99,
        "currency": "EUR",
        "stock": 100,
        "sku": sku,
        "category": category,
        "tags": ["warm", "new"],
        "attributes": {"colour": "red", "watts": 60, "led": True},
    }
    answer = stage.catalog.post("products", given)
    product = product_of(**{**given, "price": "99.99", "category_id": ID})
    location = text("its address", r"(https?://[^/]+)?/api/v1/products/[0-9a-f-]{36}")
    answer.said(201, product, location=location, etag=etag_for(100), cache_control=_CACHED)
    if not answer.headers["Location"].endswith(answer["id"]):
        raise Mismatch("Location is the address of something else.")
    path = f"products/{answer['id']}"
    for caller in (stage.guest, stage.customer, stage.catalog):
        caller.get(path).said(200, answer.body, etag=answer.headers["ETag"], cache_control=_CACHED)
    stage.catalog.post("products", {**given, "sku": sku.upper()}).refused(409, "sku_taken", "sku")
    plain = stage.catalog.post("products", {"name": name, "price": "5"})
    plain.said(201, product_of(name=name, price="5.00"))
    _a_category_by_any_name(stage, answer.body)


def _a_category_by_any_name(stage: Stage, product: dict[str, Any]) -> None:
    category = stage.guest.get(f"categories/{product['category_id']}").said(200)
    for known in (category["id"], category["slug"], category["name"], category["name"].upper()):
        again = stage.catalog.post("products", {"name": product["name"], "price": 1, "category": known})
        again.said(201, has(category=category["name"], category_id=category["id"]))
    stage.catalog.post("products", {"name": "Lamp", "price": 1, "category": NOBODY}).refused(
        404, "category_not_found", "category"
    )


def products_that_are_refused(stage: Stage) -> None:
    given = {"name": "Lamp", "price": "1.00", "group": stage.name("group")}
    stage.catalog.post("products", {}).refused_for(400, [("required", "name"), ("required", "price")])
    wrong: tuple[tuple[str, object, str, str], ...] = (
        ("name", "", "blank", "name"),
        ("name", "x" * 201, "max_length", "name"),
        ("name", "a\nb", "control_characters", "name"),
        ("price", "free", "invalid", "price"),
        ("price", -1, "min_value", "price"),
        ("price", "1.001", "invalid_price", "price"),
        ("price", True, "invalid", "price"),
        ("currency", "XXX", "unknown_currency", "currency"),
        ("stock", -1, "min_value", "stock"),
        ("stock", 1.5, "invalid", "stock"),
        ("tags", "warm", "not_a_list", "tags"),
        ("tags", ["x" * 51], "max_length", "tags.0"),
        ("attributes", {"a": []}, "invalid_attributes", "attributes"),
        ("prize", 1, "unknown_field", "prize"),
    )
    for field, value, code, attr in wrong:
        stage.catalog.post("products", {**given, field: value}).refused(400, code, attr)
    stage.guest.get(f"products?group={given['group']}").said(200, page_of())
    stage.guest.get(f"products/{NOBODY}").refused(404, "product_not_found")
    stage.guest.get("products/nothing").refused(404, "not_found")


def copies_of_a_product(stage: Stage) -> None:
    """Whoever has the newest is told so; whoever has not cannot overwrite it."""
    key = stage.product(stock=3)
    path = f"products/{key}"
    etag = stage.guest.get(path).said(200).headers["ETag"]
    for copy in (etag, f"W/{etag}", f'"0-0", {etag}', "*"):
        stage.guest.get(path, headers={"If-None-Match": copy}).said(304, None, etag=etag, cache_control=_CACHED)
        stage.customer.get(path, headers={"If-None-Match": copy}).said(304, None, etag=etag)
    stage.guest.get(path, headers={"If-None-Match": '"0-0"'}).said(200, etag=etag)
    changed = stage.catalog.patch(path, {"price": "12.00"}, headers={"If-Match": etag}).said(200, has(price="12.00"))
    if changed.headers["ETag"] == etag:
        raise Mismatch("The product has changed, and its ETag has not.")
    for method, body in (("PATCH", {"price": 1}), ("PUT", {"name": "x", "price": 1}), ("DELETE", None)):
        late = stage.catalog.send(method, path, json=body, headers={"If-Match": etag})
        late.refused(412, "precondition_failed")
    stage.guest.get(path, headers={"If-None-Match": etag}).said(200, has(price="12.00"))
    stage.catalog.patch(path, {"name": "New"}, headers={"If-Match": "*"}).said(200, has(name="New", price="12.00"))
    stage.catalog.patch(path, {"name": "New"}, headers={"If-Match": "nonsense"}).refused(412, "precondition_failed")
    current = stage.guest.get(path).headers["ETag"]
    stage.order((key, 1))
    # A sale makes copies old, and no editor's form.
    stage.guest.get(path, headers={"If-None-Match": current}).said(200, has(stock=2), etag=etag_for(2))
    stage.catalog.patch(path, {"name": "Newer"}, headers={"If-Match": current}).said(200, has(name="Newer", stock=2))


def changing_and_deleting_a_product(stage: Stage) -> None:
    name, category = stage.name("Lamp "), stage.name("Lights ")
    key = stage.product(stock=5, tags=["warm"], category=category, description="Bright")
    path = f"products/{key}"
    sku = stage.guest.get(path)["sku"]
    stage.catalog.patch(path, {"tags": []}).said(200, has(tags=[], category=category, description="Bright", stock=5))
    replaced = stage.catalog.put(path, {"name": name, "price": 3})
    replaced.said(200, product_of(id=key, name=name, price="3.00", stock=5, sku=sku))
    stage.catalog.put(path, {"name": name}).refused(400, "required", "price")
    stage.catalog.patch(path, {"stock": 7}).refused(400, "stock_not_editable", "stock")
    stage.catalog.patch(path, replaced.body).said(200, has(name=name, stock=5))
    stage.catalog.patch(path, {"active": False}).said(200, has(active=False))
    for caller in (stage.guest, stage.customer):
        caller.get(path).refused(404, "product_not_found")
    stage.catalog.get(path).said(200, has(active=False))
    items = {"items": [{"product_id": key, "quantity": 1}]}
    stage.customer.post("orders", items).refused(404, "product_not_found", f"items.{key}")
    stage.catalog.patch(path, {"active": True}).said(200, has(active=True))
    stage.guest.get(path).said(200, has(name=name))
    order = stage.order((key, 1))
    stage.catalog.delete(path).said(204, None)
    for caller in (stage.guest, stage.catalog, stage.admin):
        caller.get(path).refused(404, "product_not_found")
    stage.catalog.delete(path).refused(404, "product_not_found")
    stage.customer.post("orders", items).refused(404, "product_not_found", f"items.{key}")
    kept = stage.customer.get(f"orders/{order}").said(200)
    check((key, name), (kept["items"][0]["product_id"], kept["items"][0]["product_name"]), "what orders keep")


def lists_of_products(stage: Stage) -> None:
    group = stage.name("group")
    prices = {"a": "30.00", "b": "10.00", "c": "20.00"}
    keys = {
        name: stage.product(
            name=f"{name} {group}",
            price=price,
            group=group,
            stock=0 if name == "b" else 5,
            tags=["odd" if name == "b" else f"t{group}"],
            attributes={"size": name},
        )
        for name, price in prices.items()
    }

    def ids(query: str) -> list[str]:
        answer = stage.guest.get(f"products?group={group}{query}").said(200)
        found: list[str] = [product["id"] for product in answer["results"]]
        check(len(found), answer["count"], "how many there are")
        return found

    expected = {
        "": "cba",
        "&ordering=price": "bca",
        "&ordering=-price": "acb",
        "&ordering=name": "abc",
        "&ordering=-name": "cba",
        "&ordering=created_at": "abc",
        "&min_price=20": "ca",
        "&max_price=20": "cb",
        "&min_price=15&max_price=25": "c",
        "&tag=odd": "b",
        "&in_stock=true": "ca",
        "&in_stock=false": "b",
        "&attributes[size]=a&attributes[size]=b": "ba",
        "&category=nowhere": "",
        "&unknown=1": "cba",
    }
    for query, names in expected.items():
        check([keys[name] for name in names], ids(query), f"products{query}")
    for wrong in ("ordering=colour", "min_price=cheap", "in_stock=maybe"):
        name, _, _ = wrong.partition("=")
        code = "invalid_choice" if name == "ordering" else "invalid"
        stage.guest.get(f"products?{wrong}").refused(400, code, name)
    first = stage.guest.get(f"products?group={group}&page_size=2&ordering=price")
    first.said(200, page_of(has(id=keys["b"]), has(id=keys["c"]), count=3, next=SOMETHING))
    path = first["next"].partition("/api/v1/")[2]
    stage.guest.get(path).said(200, page_of(has(id=keys["a"]), count=3, previous=SOMETHING))
    variants = stage.guest.get(f"products/{keys['a']}/variants")
    found = [has(id=keys[name]) for name in "abc"]
    variants.said(200, {"group": group, "attributes": {"size": ["a", "b", "c"]}, "results": found})


def searching(stage: Stage) -> None:
    word, category = stage.name("lamp"), stage.name("Lights ")
    names = {"a": f"{word} Café 智能手机", "b": f"{word} cafe reading", "c": f"table {word}"}
    prices = {"a": "5.00", "b": "30.00", "c": "30.00"}
    keys = {
        key: stage.product(name=name, price=prices[key], category=category, tags=[f"t{word}"])
        for key, name in names.items()
    }

    def found(query: str) -> Answer:
        return stage.guest.get(f"products/search?q={query}&ordering=name").said(200)

    def ids(query: str) -> set[str]:
        return {name for name in keys for product in found(query)["results"] if product["id"] == keys[name]}

    stage.eventually(
        lambda: stage.guest.get(f"products/search?q={word}&ordering=name"), lambda answer: answer["count"] == 3
    )
    check({"a", "b"}, ids(f"CAFE {word.upper()}"), "in any order, whatever the case and the accents")
    check({"b"}, ids(f"{word} read"), "beginnings of words")
    check({"a"}, ids(f"{word} 手机"), "within longer runs of Chinese")
    check(set(), ids(f"{word} sofa"), "all words")
    check({"b", "c"}, ids(f"{word}&min_price=10"), "filters")
    check({"a"}, ids(f"{word}&max_price=10&category={category}"), "filters")
    facets = found(word)["facets"]
    slug = stage.guest.get(f"products/{keys['a']}")["category_id"]
    expected = {
        "categories": [{"id": slug, "name": category, "slug": SOMETHING, "count": 3}],
        "tags": [{"tag": f"t{word}", "count": 3}],
        "price_bands": [
            {"min": "0", "max": "10", "count": 1},
            {"min": "25", "max": "50", "count": 2},
        ],
    }
    check(expected, facets, "the facets")
    stage.guest.get("products/search?q=").said(200, {**page_of(), "facets": has(categories=[], tags=[])})
    stage.guest.get(f"products/search?q={'x' * 201}").refused(400, "max_length", "q")
    _best_first(stage, word)
    hit = {"type": "product", "id": keys["c"], "text": names["c"]}
    stage.guest.get(f"products/suggest?q=tab {word}").said(200, {"results": [hit]})
    two = [has(type="product"), has(type="product")]
    stage.guest.get(f"products/suggest?q={word[:-1]}&limit=2", is_noted=False).said(200, {"results": two})
    group = [{"type": "category", "id": slug, "text": category}]
    stage.guest.get(f"products/suggest?q={category}").said(200, {"results": group})
    stage.guest.get("products/suggest?limit=0").refused(400, "min_value", "limit")


def _best_first(stage: Stage, word: str) -> None:
    """A word counts more in the name than in the description. Of equals, the order depends on the rest of the shop."""
    only = stage.name("only")
    weak = stage.product(name=f"Chair {word}", description=f"For the {only}")
    strong = stage.product(name=f"{only} {word}")

    def ask() -> Answer:
        return stage.guest.get(f"products/search?q={only}", is_noted=False)

    answer = stage.eventually(ask, lambda answer: answer["count"] == 2, is_noted=False)
    check([strong, weak], [product["id"] for product in answer["results"]], "the best match first")


def what_is_popular(stage: Stage) -> None:
    """Which products these are depends on everybody; only the form of the list is compared."""
    key = stage.product()
    stage.guest.get(f"products/{key}").said(200)

    def ask() -> Answer:
        return stage.guest.get("products/popular", is_noted=False)

    answer = stage.eventually(ask, lambda answer: answer["count"] > 0, is_noted=False)
    product = has(**product_of(**dict.fromkeys(product_of(), ANYTHING), name=SOMETHING))
    answer.said(200, {**page_of(), "count": COUNT, "next": ANYTHING, "results": each(product)})
    answer.noted(sorted(answer["results"][0]))


def the_category_tree(stage: Stage) -> None:
    name = stage.name("Home ")
    new = {"id": ID, "slug": SOMETHING, "parent_id": None, "created_at": TIME, "updated_at": TIME}
    location = text("its address", r"(https?://[^/]+)?/api/v1/categories/[0-9a-f-]{36}")
    top = stage.catalog.post("categories", {"name": name}).said(201, {**new, "name": name}, location=location)
    slug = stage.name("slug-")
    below = {"name": "Lights", "parent_id": top["id"], "slug": slug}
    child = stage.catalog.post("categories", below).said(201, {**new, **below})
    leaf = stage.catalog.post("categories", {"name": stage.name("Lamps "), "parent_id": child["id"]}).said(201)
    stage.guest.get(f"categories/{child['id']}").said(200, child.body)
    stage.guest.get(f"categories?parent_id={top['id']}").said(200, page_of(child.body))
    for parent in (top["id"], child["id"], leaf["id"]):
        move = stage.catalog.patch(f"categories/{top['id']}", {"parent_id": parent})
        move.refused(409, "category_cycle", "parent_id")
    nowhere = stage.catalog.patch(f"categories/{leaf['id']}", {"parent_id": NOBODY})
    nowhere.refused(404, "category_not_found", "parent_id")
    stage.catalog.post("categories", {**below, "slug": None}).refused(409, "category_exists", "name")
    stage.catalog.post("categories", {"name": "Other", "slug": slug}).refused(409, "category_exists", "slug")
    stage.catalog.post("categories", {}).refused(400, "required", "name")
    _products_below(stage, top["id"], child["id"], leaf["id"])
    renamed = stage.catalog.patch(f"categories/{child['id']}", {"name": "Lighting"})
    renamed.said(200, {**child.body, "name": "Lighting", "updated_at": TIME})
    moved = stage.catalog.put(f"categories/{child['id']}", {"name": stage.name("Lighting ")})
    moved.said(200, has(parent_id=None, slug=slug))
    stage.catalog.delete(f"categories/{top['id']}").said(204, None)
    stage.guest.get(f"categories/{top['id']}").refused(404, "category_not_found")
    stage.catalog.patch(f"categories/{NOBODY}", {"name": "x"}).refused(404, "category_not_found")


def _products_below(stage: Stage, top: str, child: str, leaf: str) -> None:
    key = stage.product(category=leaf)
    for category in (top, child, leaf):
        stage.guest.get(f"products?category={category}").said(200, page_of(has(id=key)))
    for category in (top, leaf):
        stage.catalog.delete(f"categories/{category}").refused(409, "category_in_use")
    stage.catalog.patch(f"products/{key}", {"category": ""}).said(200, has(category=None, category_id=None))
    stage.guest.get(f"products?category={top}").said(200, page_of())


def pictures(stage: Stage) -> None:
    key = stage.product()
    path = f"products/{key}/images"
    first, second = (_upload(stage, path, alt) for alt in ("The lamp", "Its back"))
    stage.guest.get(f"products/{key}").said(200, has(images=[first.body, second.body]))
    for address in (first["url"], first["thumbnails"]["small"]):
        file = stage.guest.get(_path_of(stage, address))
        file.said(200, content_type=text("image", r"image/(png|webp)"), x_content_type_options="nosniff")
        check(300 if address == first["url"] else 160, Image.open(BytesIO(file.content)).width, "the picture's width")
    swapped = {"images": [{"id": second["id"], "alt": "Behind"}, {"id": first["id"]}]}
    stage.catalog.patch(path, swapped).said(200, [{**second.body, "alt": "Behind"}, first.body])
    stage.catalog.patch(path, {"images": swapped["images"][:1]}).refused(400, "invalid_arrangement", "images")
    stage.catalog.patch(f"{path}/{first['id']}", {"alt": "Lit"}).said(200, {**first.body, "alt": "Lit"})
    stage.catalog.patch(f"{path}/{NOBODY}", {"alt": "x"}).refused(404, "picture_not_found")
    stage.catalog.delete(f"{path}/{first['id']}").said(204, None)
    stage.catalog.delete(f"{path}/{first['id']}").refused(404, "picture_not_found")
    stage.guest.get(f"products/{key}").said(200, has(images=[{**second.body, "alt": "Behind"}]))
    _not_pictures(stage, path)


def _upload(stage: Stage, path: str, alt: str) -> Answer:
    answer = stage.catalog.post(path, files={"image": ("lamp.png", _picture(), "image/png")}, form={"alt": alt})
    thumbnails = {"small": _URL, "medium": _URL, "large": _URL}
    image = {"id": ID, "url": _URL, "alt": alt, "width": 300, "height": 200, "thumbnails": thumbnails}
    return answer.said(201, image)


def _not_pictures(stage: Stage, path: str) -> None:
    fake = {"image": ("lamp.png", b"no picture", "image/png")}
    stage.catalog.post(path, files=fake).refused(400, "not_a_picture", "image")
    large = {"image": ("lamp.png", b"\0" * (11 * 1024 * 1024), "image/png")}
    stage.catalog.post(path, files=large).refused(413, "request_too_large")
    stage.catalog.post(path, files={"file": ("lamp.png", _picture(), "image/png")}).refused(400, "required", "image")
    good = {"image": ("lamp.png", _picture(), "image/png")}
    stage.catalog.post(f"products/{NOBODY}/images", files=good).refused(404, "product_not_found")
    stage.guest.get("/media/products/nothing.png", headers={"Accept": "application/json"}).refused(404, "not_found")


def _picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (300, 200), (220, 30, 30)).save(file, "PNG")
    return file.getvalue()


def _path_of(stage: Stage, address: str) -> str:
    """The address below the shop's own."""
    base = stage.target.products
    if not address.startswith(f"{base}/media/"):
        raise Mismatch(f"{address} is not below {base}.")
    return address.removeprefix(base)


SCENARIOS = (
    adding_a_product,
    products_that_are_refused,
    copies_of_a_product,
    changing_and_deleting_a_product,
    lists_of_products,
    searching,
    what_is_popular,
    the_category_tree,
    pictures,
)
