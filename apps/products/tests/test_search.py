"""Search: the same on every database."""

from decimal import Decimal
from uuid import UUID

import pytest

from apps.products.interface import Attributes, PriceBand, ProductChange, ProductFilter, TagCount
from apps.products.search.hits import Hits
from apps.products.search.words import MAX_QUERY_TOKENS, normalise
from apps.products.services import LocalProductService
from apps.products.services.facets import count_facets
from apps.products.services.selection import differences, select_products, suggest
from apps.products.store import documents, indexes
from apps.products.tests.factories import make_category, make_product
from tests.flow import sends

service = LocalProductService()


def found(text: str, **filters: object) -> list[UUID]:
    return Hits(text, select_products(ProductFilter(**filters)))[0:100]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Café CRÈME", ["cafe", "creme"]),
        ("Straße", ["strasse"]),
        ("智能手机", ["智能", "能手", "手机", "机"]),
        ("机", ["机"]),
        ("iPhone手机壳2", ["iphone", "手机", "机壳", "壳", "2"]),
        ("ＡＢＣ ﬁ ①", ["abc", "fi", "1"]),
        ("Łódź İstanbul smørbrød", ["lodz", "istanbul", "smorbrod"]),
        ("a_b-c.d'e\"f\0g", ["a", "b", "c", "d", "e", "f", "g"]),
        ("ガラス", ["カラ", "ラス", "ス"]),
        ("Привет", ["привет"]),
        ("x" * 100, ["x" * 64]),
        (" \n!?*:()\"'", []),
    ],
)
def test_normalise(text: str, tokens: list[str]) -> None:
    assert normalise(text) == tokens


@pytest.mark.django_db
class TestFinding:
    @pytest.mark.parametrize(
        ("name", "query"),
        [
            ("智能手机", "手机"),
            ("智能手机", "智能手机"),
            ("智能手机", "能"),
            ("智能手机", "机"),
            ("Café crème", "cafe"),
            ("Café crème", "creme cafe"),
            ("Café crème", "CRÈ"),
            ("Straße", "STRASSE"),
            ("Strasse", "straße"),
            ("USB-C cable 2m", "usb c CABLE"),
            ("Plan 1e5 007 v2.0", "1e"),
            ("Plan 1e5 007 v2.0", "007 0"),
            ("𠮷野家", "野家"),
            ("한국어 사전", "한국"),
            ("हिन्दी किताब", "किताब"),
            ("ᎠᏂ ꭰ", "Ꭰ"),
        ],
    )
    def test_finds(self, name: str, query: str) -> None:
        product = make_product(name=name)
        make_product(name="Something else", sku="OTHER")

        assert found(query) == [product.id]

    @pytest.mark.parametrize("query", ["手能", "afe", "cafe tea", "手机壳", "机手"])
    def test_does_not_find(self, query: str) -> None:
        make_product(name="智能手机 cafe")

        assert found(query) == []

    def test_looks_into_sku_description_tags_and_category(self) -> None:
        product = make_product(sku="X-900", description="Two\nlines", tags=["Ünique"], category="Gärten")

        for query in ("900", "lines two", "unique", "garten x"):
            assert found(query) == [product.id]

    @pytest.mark.parametrize("query", ["", "  ", "\"'*()", "\0", "&|!:<->", "_", "\u200b"])
    def test_a_query_without_a_word_finds_nothing(self, query: str) -> None:
        make_product()

        assert found(query) == []
        assert Hits(query, select_products(ProductFilter())).count() == 0

    @pytest.mark.parametrize(
        "noise",
        ['"', "'", "*", "^", ":", "(", ")", "{", "}", "+", "-", "&", "|", "!", "\\", ";", "--", "%", "%(", "<->"],
    )
    def test_nothing_typed_is_syntax(self, noise: str) -> None:
        product = make_product(name="Lamp near and or not s")

        for query in (f"lamp{noise}", f"{noise}lamp", f"lamp {noise} near", f"lamp NEAR{noise}OR AND NOT"):
            assert found(query) == [product.id]

    def test_the_number_of_words_is_bounded(self) -> None:
        product = make_product(name=" ".join(f"w{n}" for n in range(30)))
        wanted = " ".join(f"w{n}" for n in range(MAX_QUERY_TOKENS))

        assert found(f"{wanted} absent") == [product.id]

    def test_the_title_counts_most_and_ties_go_by_id(self) -> None:
        low = make_product(name="Thing", description="lamp")
        high = make_product(name="Lamp")
        twins = [make_product(name="Other", description="lamp thing", sku=f"S{n}") for n in range(2)]

        assert found("lamp")[0] == high.id
        assert found("thing")[0] == low.id
        assert [key for key in found("lamp thing") if key != low.id] == [twin.id for twin in twins]

    def test_pages_do_not_overlap(self) -> None:
        products = [make_product(name="Lamp", sku=f"S{n}") for n in range(5)]
        hits = Hits("lamp", select_products(ProductFilter()))

        assert [hits[0:2], hits[2:4], hits[4:6]] == [
            [product.id for product in products[start : start + 2]] for start in (0, 2, 4)
        ]

    def test_follows_every_change(self) -> None:
        product = make_product(name="Lamp", sku="X-1")
        service.update_product(product_id=product.id, change=ProductChange(name="Chair"))
        assert (found("lamp"), found("chair")) == ([], [product.id])

        service.update_product(product_id=product.id, change=ProductChange(active=False))
        assert (found("chair"), found("chair", include_inactive=True)) == ([], [product.id])

        service.delete_product(product_id=product.id)
        assert found("chair", include_inactive=True) == []

    def test_filters_narrow_it(self) -> None:
        parent = make_category(name="Home")
        make_category(name="Lights", parent_id=parent.id)
        lamp = make_product(name="Lamp", category="Lights", price=Decimal(20), tags=["warm"], stock=0)
        make_product(name="Lamp", price=Decimal(30), stock=1)

        narrow: list[dict[str, object]] = [
            {"category": "home"},
            {"tag": "warm"},
            {"max_price": Decimal(20)},
            {"in_stock": False},
        ]
        for filters in narrow:
            assert found("lamp", **filters) == [lamp.id]
        assert found("lamp", category="nowhere") == []


@pytest.mark.django_db
class TestFacets:
    def test_counts(self) -> None:
        for price, tags, category in (("5", ["a", "b"], "Lights"), ("10", ["a"], "Lights"), ("2000", ["a"], "Chairs")):
            make_product(name="Lamp", price=Decimal(price), tags=tags, category=category)
        make_product(name="Lamp", price=Decimal(1))
        make_product(name="Other", tags=["c"])

        with sends(4):
            facets = count_facets(Hits("lamp", select_products(ProductFilter())).matching)

        assert [(each.name, each.slug, each.count) for each in facets.categories] == [
            ("Lights", "lights", 2),
            ("Chairs", "chairs", 1),
        ]
        assert facets.tags == [TagCount("a", 3), TagCount("b", 1)]
        assert facets.price_bands == [
            PriceBand(Decimal(0), Decimal(10), 2),
            PriceBand(Decimal(10), Decimal(25), 1),
            PriceBand(Decimal(1000), None, 1),
        ]


@pytest.mark.django_db
class TestPages:
    def test_a_page_costs_the_same_however_many_products_there_are(self) -> None:
        everything = ProductFilter(category="Lights", in_stock=True)
        for count in (3, 60):
            for n in range(count):
                make_product(name="Lamp", category="Lights", tags=[f"t{n}"])
            with sends(6, on_mongodb=7):
                assert len(service.list_products(narrowed=everything, page_size=100).products) >= count
            with sends(9, on_mongodb=10):
                assert len(service.search_products(text="lamp", narrowed=everything, page_size=100).products) >= count
            with sends(0):
                assert service.search_products(text="?").products == []


@pytest.mark.django_db(transaction=True)
def test_the_index_can_be_made_again() -> None:
    product = make_product(name="Lamp")
    assert indexes.missing(documents.connection()) == []

    indexes.install(documents.connection())

    assert found("lamp") == [product.id]
    assert indexes.missing(documents.connection()) == []


@pytest.mark.django_db
class TestForgiving:
    @pytest.mark.parametrize("query", ["labtop", "hedphones wireles", "keybaord", "laptpo bag"])
    def test_typing_errors_are_forgiven_where_nothing_matches(self, query: str) -> None:
        names = {"labtop": "Laptop", "hedphones wireles": "Wireless Headphones", "keybaord": "Keyboard"}
        product = make_product(name=names.get(query, "Bag for a laptop"), sku="S1")
        make_product(name="Coffee mug", sku="S2")

        wanted = [product.id] if documents.connection().vendor == "postgresql" else []
        assert found(query) == wanted
        assert Hits(query, select_products(ProductFilter())).count() == len(wanted)

    def test_a_match_is_not_mixed_with_what_is_only_similar(self) -> None:
        product = make_product(name="Lamps", sku="S1")
        make_product(name="Lamb", sku="S2")

        assert found("lamps") == [product.id]

    def test_short_words_must_match(self) -> None:
        make_product(name="Cup", sku="S1")

        assert found("cap") == []


@pytest.mark.django_db
class TestAttributes:
    @pytest.mark.parametrize(
        ("value", "text"),
        [("red", "red"), (60, "60"), (1.5, "1.5"), (2.0, "2"), (True, "true"), ("60", "60"), ('q"\\', 'q"\\')],
    )
    def test_a_value_is_found_by_its_text(self, value: object, text: str) -> None:
        product = make_product(attributes={"a.b $c": value, "x": 1})
        make_product(attributes={"a.b $c": "other", "x": text})
        make_product()

        assert ids(attributes={"a.b $c": [text]}) == [product.id]
        assert ids(attributes={"a.b $c": [text], "x": ["1"]}) == [product.id]
        assert ids(attributes={"a.b $c": [text], "x": ["2"]}) == []

    def test_one_of_several_values(self) -> None:
        products = [make_product(attributes={"colour": colour}).id for colour in ("red", "blue", "green")]

        assert ids(attributes={"colour": ["red", "green"]}) == [products[0], products[2]]
        assert ids(attributes={"colour": ["Red"]}) == []
        assert ids(attributes={"size": ["red"]}) == []


def ids(**filters: object) -> list[UUID]:
    return sorted(select_products(ProductFilter(**filters)).values_list("id", flat=True))  # type: ignore[arg-type]


@pytest.mark.django_db
class TestSuggestions:
    def test_categories_then_products_by_their_names(self) -> None:
        lights = make_category(name="Làmps")
        make_category(name="Other lamps")
        product = make_product(name="Desk lamp", category=str(lights.id))
        make_product(name="Desk", description="for a lamp")
        make_product(name="Lamp without a shop window", active=False)

        with sends(3):
            assert [(each.type, each.id, each.text) for each in suggest("làm", 8)] == [
                ("category", lights.id, "Làmps"),
                ("product", product.id, "Desk lamp"),
            ]
        assert [each.text for each in suggest("desk", 1)] == ["Desk lamp"]
        assert suggest(" ", 8) == suggest("", 8) == []

    def test_chinese(self) -> None:
        product = make_product(name="智能手机")

        assert [each.id for each in suggest("手", 8)] == [product.id]


def test_what_variants_differ_in() -> None:
    red: Attributes = {"colour": "red", "watts": 5, "dim": True}
    blue: Attributes = {"colour": "blue", "watts": 5}

    assert differences([red, blue, red]) == {"colour": ["red", "blue"], "dim": [True, None]}
    assert differences([{"led": 1}, {"led": True}]) == {"led": [1, True]}
    assert differences([red]) == {}
    assert differences([]) == {}


@pytest.mark.django_db
def test_a_product_counts_in_all_categories_above_its_own() -> None:
    home = make_category(name="Home")
    lights = make_category(name="Lights", parent_id=home.id)
    make_category(name="Lamps", parent_id=lights.id)
    for category in ("Lamps", "Lamps", "Lights", "Home"):
        make_product(name="Thing", category=category)

    found_in = count_facets(select_products(ProductFilter(category="Lights"))).categories

    assert [(each.name, each.count) for each in found_in] == [("Home", 3), ("Lights", 3), ("Lamps", 2)]
