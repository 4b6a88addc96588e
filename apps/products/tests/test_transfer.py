"""Products in CSV, in and out."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connections
from django.test import Client
from rest_framework.test import APIClient

from apps.common.cells import write
from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.products import models
from apps.products.interface import NewProduct, Product, ProductChange, StockLine
from apps.products.models import ImportChunk, ImportJob, ImportRow
from apps.products.services import LocalProductService
from apps.products.store import documents
from apps.products.tasks import clean_imports, run_import
from apps.products.tests.factories import make_category, make_product
from apps.products.transfer import jobs, sheets
from apps.products.transfer.planning import Plan, Planner
from apps.products.transfer.sheets import Line
from apps.users.interface import Role
from tests.flow import LoggedIn, deliver_events, everything_stored, sends

pytestmark = pytest.mark.django_db
service = LocalProductService()

IMPORT = "/api/v1/products/import"
IMPORTS = "/api/v1/products/imports"
EXPORT = "/api/v1/products/export"


@pytest.fixture
def staff(log_in: Callable[..., LoggedIn]) -> LoggedIn:
    return log_in(Role.CATALOG_STAFF)


def send(client: APIClient, text: str | bytes, *, dry_run: bool = False, charset: str = "") -> Any:  # noqa: ANN401 - a response
    content = text if isinstance(text, bytes) else text.encode()
    content_type = f"text/csv; charset={charset}" if charset else "text/csv"
    address = f"{IMPORT}?dry_run=true" if dry_run else IMPORT
    return client.post(address, content, content_type=content_type)


def take_in(client: APIClient, text: str | bytes, **how: Any) -> dict[str, Any]:  # noqa: ANN401 - as `send`
    """The finished import of a small file."""
    response = send(client, text, **how)
    assert response.status_code == 200, response.content
    result: dict[str, Any] = response.json()
    assert result["state"] == "finished"
    return result


def outcomes(result: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(row["row"], row["sku"], row["outcome"]) for row in result["rows"]]


def problems(result: dict[str, Any]) -> list[tuple[int, str | None, str]]:
    return [(row["row"], each["attr"], each["detail"]) for row in result["rows"] for each in row["problems"]]


def export(client: APIClient, query: str = "") -> bytes:
    response = client.get(f"{EXPORT}{query}")
    assert response.status_code == 200
    content: bytes = response.getvalue()
    return content


def table(content: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def product(sku: str) -> Product:
    return service.get_product(product_id=models.Product.objects.get(sku=sku).id, include_inactive=True)


def plain(value: object) -> object:
    return value.strip().replace("\r\n", "\n") if isinstance(value, str) else value


def events() -> list[str]:
    """What was published, beside the imports' own."""
    rows = OutboxEvent.objects.using(alias_of("products")).exclude(type="import.requested").order_by("id")
    return list(rows.values_list("type", flat=True))


def catalogue() -> object:
    """All that is stored, but for the imports and what asks for them."""
    own = ("products_import", "events_", "users_session")
    stored = {key: rows for key, rows in everything_stored().items() if not key[1].startswith(own)}
    return (
        stored,
        list(models.Product.objects.order_by("pk").values()),
        list(models.Category.objects.values()),
        events(),
    )


def job_of(rows: Sequence[str], header: str = "sku,name,price,stock", *, dry_run: bool = False) -> ImportJob:
    return jobs.start("\n".join([header, *rows]).encode(), dry_run=dry_run)


class TestImport:
    def test_makes_and_changes(self, staff: LoggedIn) -> None:
        lamp = make_product(sku="LAMP", name="Lamp", price=Decimal("10.00"), stock=5, attributes={"watts": 60})
        lights = make_category(name="Lights")
        before = len(events())

        result = take_in(
            staff,
            "SKU;Name;Price;Currency;Category;Group;Tags;Active;Stock;Attribute: colour;attribute:watts\r\n"
            "lamp;Lamp;12.50;USD;Lights;g;warm | new;yes;5;red;\r\n"
            '0042;"Sofa ""XL""";349;EUR;lights;;;no;7;;true\r\n',
        )

        assert outcomes(result) == [(2, "lamp", "updated"), (3, "0042", "created")]
        assert {name: result[name] for name in ("total", "done", "created", "updated", "unchanged", "failed")} == {
            "total": 2, "done": 2, "created": 1, "updated": 1, "unchanged": 0, "failed": 0,
        }  # fmt: skip
        assert result["requested_by"] == str(staff.user.id)
        now = product("LAMP")
        assert (now.id, now.price, now.category_id, now.group) == (lamp.id, Decimal("12.50"), lights.id, "g")
        assert (now.tags, now.attributes, now.stock, now.revision) == (["warm", "new"], {"colour": "red"}, 5, 2)
        sofa = product("0042")
        assert (sofa.name, sofa.price, sofa.currency, sofa.category) == (
            'Sofa "XL"',
            Decimal("349.00"),
            "EUR",
            "Lights",
        )
        assert (sofa.active, sofa.stock, sofa.attributes, sofa.tags) == (False, 7, {"watts": True}, [])
        assert models.StockMovement.objects.get(product_id=sofa.id).actor_id == staff.user.id
        assert events()[before:] == ["product.updated", "product.created"]

    def test_a_missing_column_leaves_its_field_alone_and_an_empty_cell_empties_it(self, staff: LoggedIn) -> None:
        make_product(sku="A", description="x", category="Lights", tags=["t"], group="g", attributes={"a": 1, "b": "2"})

        assert outcomes(take_in(staff, "sku,price\nA,11\n")) == [(2, "A", "updated")]
        now = product("A")
        assert (now.description, now.category, now.tags, now.group) == ("x", "Lights", ["t"], "g")
        assert now.attributes == {"a": 1, "b": "2"}

        take_in(staff, "sku,description,category,tags,group,attribute:a,currency,active,stock\nA,,,,,,,,\n")
        now = product("A")
        assert (now.description, now.category, now.tags, now.group) == ("", None, [], "")
        assert (now.attributes, now.currency, now.active, now.stock) == ({"b": "2"}, "USD", True, 100)

    def test_stock_is_only_changed_on_purpose(self, staff: LoggedIn) -> None:
        lamp = make_product(sku="A", stock=10)
        held = StockLine(lamp.id, 4)
        service.reserve_stock(order_id=new_id(), lines=[held], hold_for=timedelta(days=365))

        result = take_in(staff, "sku,stock\nA,10\n")
        assert outcomes(result) == [(2, "A", "unchanged")]
        assert result["rows"][0]["notes"] == [
            "Stock stays at 6. To change it, use a column on_hand (a count) or stock_delta (to add)."
        ]
        assert outcomes(take_in(staff, "sku,on_hand\nA,8\n")) == [(2, "A", "updated")]
        assert outcomes(take_in(staff, "sku,on_hand\nA,8\n")) == [(2, "A", "unchanged")]
        assert outcomes(take_in(staff, "sku,stock_delta\nA,-3\n")) == [(2, "A", "updated")]
        assert problems(take_in(staff, "sku,stock_delta\nA,-2\n")) == [
            (2, None, "4 units are reserved for orders; 3 on hand would not be enough.")
        ]
        assert problems(take_in(staff, "sku,stock_delta\nA,-20\n")) == [
            (2, "stock_delta", "5 are on hand: fewer than none cannot be.")
        ]

        level = service.get_stock(product_id=lamp.id)
        assert (level.on_hand, level.reserved) == (5, 4)
        ledger = models.StockMovement.objects.filter(product_id=lamp.id).order_by("id")
        assert [row.delta for row in ledger] == [10, -2, -3]
        assert product("A").revision == 1

    @pytest.mark.parametrize(
        ("row", "attr", "detail"),
        [
            (",Lamp,1,,,,,,", "sku", "Which product is meant? The row has no SKU."),
            ("N,,1,,,,,,", "name", "A product needs a name."),
            ("N,Lamp,,,,,,,", "price", "A product needs a price."),
            ("A,,1,,,,,,", "name", "A product needs a name."),
            ("N,Lamp,abc,,,,,,", "price", "“abc” is not an amount such as 9.99."),
            (
                'N,Lamp,"9,99",,,,,,',
                "price",
                "“9,99” is not an amount such as 9.99. Write a point before the cents, and nothing between thousands.",
            ),
            ("N,Lamp,-1,,,,,,", "price", "A price is not negative."),
            ("N,Lamp,NaN,,,,,,", "price", "“NaN” is not an amount such as 9.99."),
            ("N,Lamp,1.234,,,,,,", "price", "A price in USD has at most 2 decimal places."),
            (
                "N,Lamp,123456789012,,,,,,",
                "price",
                "Ensure that there are no more than 11 digits before the decimal point.",
            ),
            ("N,Lamp,1.5,JPY,,,,,", "price", "A price in JPY has at most 0 decimal places."),
            ("A,Lamp,10.00,XXX,,,,,", "currency", "XXX is not an ISO 4217 currency."),
            ("N,Lamp,1,XXX,,,,,", "currency", "XXX is not an ISO 4217 currency."),
            (f"N,{'x' * 201},1,,,,,,", "name", "Ensure this value has at most 200 characters (it has 201)."),
            (f"{'x' * 65},Lamp,1,,,,,,", "sku", "Ensure this value has at most 64 characters (it has 65)."),
            (
                f"N,Lamp,1,,{'x' * 10_001},,,,",
                "description",
                "Ensure this value has at most 10000 characters (it has 10001).",
            ),
            ("N,La\x07mp,1,,,,,,", "name", "Control characters are not allowed."),
            ('N,"La\nmp",1,,,,,,', "name", "Line breaks and tabs are not allowed here."),
            ("N,Lamp,1,,,,,maybe,", "active", "“maybe” is neither true nor false."),
            ("N,Lamp,1,,,,,,1.5", "stock", "“1.5” is not a whole number."),
            ("N,Lamp,1,,,,,,-1", "stock", "The first stock of a product is not negative."),
            ("N,Lamp,1,,,,,,1000000001", None, "At most 1000000000 units of a product can be on hand."),
            (f"N,Lamp,1,,,{'x' * 101},,,", "category", "Ensure this value has at most 100 characters (it has 101)."),
            ("N,Lamp,1,,,Twice,,,", "category", "Several categories have that name: use an id or a slug."),
            (f"N,Lamp,1,,,{UUID(int=7)},,,", "category", "There is no category with that id."),
            (f"N,Lamp,1,,,,{'x' * 51},,", "tags", "Tags are a list of at most 20 texts of 1 to 50 characters."),
            ("GONE,Lamp,1,,,,,,", "sku", "The product with this SKU was deleted. Its SKU is not used again."),
            ("N,Lamp,1", None, "The row has 3 cells, the header 9."),
            ("N,Lamp,1,,,,,,,surplus", None, "The row has 10 cells, the header 9."),
        ],
    )  # fmt: skip
    def test_a_bad_row_fails_alone_and_alike_in_a_dry_run(
        self, staff: LoggedIn, row: str, attr: str | None, detail: str
    ) -> None:
        make_product(sku="A")
        service.delete_product(product_id=make_product(sku="GONE").id)
        for parent in (make_category(name="One"), make_category(name="Two")):
            make_category(name="Twice", parent_id=parent.id)
        text = f"sku,name,price,currency,description,category,tags,active,stock\n{row}\nGOOD,Lamp,1,,,,,,\n"

        dry = take_in(staff, text, dry_run=True)
        real = take_in(staff, text)

        for result in (dry, real):
            assert problems(result) == [(2, attr, detail)]
            assert (result["created"], result["failed"]) == (1, 1)
        assert product("GOOD").name == "Lamp"
        assert service.get_product(product_id=models.Product.objects.get(sku="A").id).revision == 1
        assert not models.Product.objects.filter(sku="N").exists()

    def test_the_same_sku_twice(self, staff: LoggedIn) -> None:
        result = take_in(staff, "sku,name,price\nA,Lamp,1\n\na,Sofa,2\n")

        assert outcomes(result) == [(2, "A", "created"), (4, "a", "failed")]
        assert problems(result) == [(4, "sku", "Row 2 is about this SKU already.")]
        assert product("A").name == "Lamp"

    def test_a_dry_run_changes_nothing_and_says_what_would(self, staff: LoggedIn) -> None:
        make_product(sku="A", stock=3)
        make_product(sku="B", name="Same", price=Decimal(1))
        before = catalogue()
        text = (
            "sku,name,price,category,stock_delta,attribute:size\n"
            "A,Lamp,2,Typo,7,L\nB,Same,1.00,,,\nC,Sofa,3,typo,,\nD,,x,,,\n"
        )

        dry = take_in(staff, text, dry_run=True)

        assert catalogue() == before
        assert dry["dry_run"] is True
        assert dry["new_categories"] == ["Typo"]
        assert outcomes(dry) == [(2, "A", "updated"), (3, "B", "unchanged"), (4, "C", "created"), (5, "D", "failed")]
        assert [row["notes"] for row in dry["rows"]] == [["There is no category “Typo” yet: it is made."], [], [], []]

        real = take_in(staff, text)

        without = ("dry_run", "product_id")
        assert [{k: v for k, v in row.items() if k not in without} for row in real["rows"]] == [
            {k: v for k, v in row.items() if k not in without} for row in dry["rows"]
        ]
        assert real["new_categories"] == ["Typo"]
        assert models.Category.objects.get().name == "Typo"
        assert service.get_stock(product_id=product("A").id).on_hand == 10

    def test_at_most_so_many_new_categories(self, staff: LoggedIn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("apps.products.transfer.planning.MAX_NEW_CATEGORIES", 1)

        result = take_in(staff, "sku,name,price,category\nA,Lamp,1,One\nB,Lamp,1,one\nC,Lamp,1,Two\n")

        assert problems(result) == [(4, "category", "One file makes at most 1 new categories.")]
        assert [row.name for row in models.Category.objects.all()] == ["One"]

    def test_a_form_with_a_file(self, staff: LoggedIn) -> None:
        file = SimpleUploadedFile("lamps.csv", b"sku,name,price\nA,Lamp,1\n", "text/csv")
        result = staff.post(IMPORT, {"file": file}, format="multipart")

        assert result.status_code == 200
        assert result.json()["file_name"] == "lamps.csv"
        assert product("A").price == Decimal("1.00")

    @pytest.mark.parametrize(
        ("query", "fields", "name"),
        [("?dryrun=true", {}, "dryrun"), ("", {"dry_run": "true"}, "dry_run"), ("?dry_run=perhaps", {}, "dry_run")],
    )
    def test_a_misspelt_dry_run_is_none(self, staff: LoggedIn, query: str, fields: dict[str, str], name: str) -> None:
        file = SimpleUploadedFile("lamps.csv", b"sku,name,price\nA,Lamp,1\n", "text/csv")
        response = staff.post(f"{IMPORT}{query}", {"file": file, **fields}, format="multipart")

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == name
        assert not models.Product.objects.exists()
        assert not ImportJob.objects.exists()


class TestFiles:
    """What is wrong with a file as a whole refuses it before any row."""

    @pytest.mark.parametrize(
        ("content", "charset"),
        [
            ("sku,name,price\nA,Größe 手机,1\n".encode(), ""),
            ("sku,name,price\nA,Größe 手机,1\n".encode("utf-8-sig"), ""),
            ("sku\tname\tprice\r\nA\tGröße 手机\t1\r\n".encode("utf-16"), ""),
            ("sku;name;price\r\nA;Größe 手机;1".encode(), "utf-8"),
            ("sku,name,price\rA,Größe 手机,1\r".encode(), "UTF-8"),
            ("SKU , Name;x,price\nA,Größe 手机,1\n".replace(";x", "").encode(), ""),
            ("sku,name,price,,\nA,Größe 手机,1,,\n,,,,\n".encode(), ""),
        ],
    )
    def test_encodings_and_delimiters(self, staff: LoggedIn, content: bytes, charset: str) -> None:
        assert outcomes(take_in(staff, content, charset=charset)) == [(2, "A", "created")]
        assert product("A").name == "Größe 手机"

    def test_a_declared_charset(self, staff: LoggedIn) -> None:
        content = "sku;name;price\nA;Größe – €;1\n".encode("cp1252")

        assert send(staff, content).json()["errors"][0]["detail"] == (
            "Line 2 is not in UTF-8. Save the file as “CSV UTF-8”, or declare its charset."
        )
        take_in(staff, content, charset="windows-1252")
        assert product("A").name == "Größe – €"

    @pytest.mark.parametrize(
        ("content", "code", "sentence"),
        [
            (b"\xef\xbb\xbf\n\n", "unreadable_file", "The file is empty: its first row names the columns."),
            (b"sku,prize\nA,1\n", "unknown_column", "There is no column “prize”. Did you mean “price”?"),
            (
                b"sku,colour\n",
                "unknown_column",
                "There is no column “colour”. An attribute's column is called “attribute:colour”.",
            ),
            (b"sku,,name\n", "unknown_column", "A column has no name."),
            (b"sku,Price,price\n", "duplicate_column", "The column “price” is there more than once."),
            (b"name,price\n", "missing_column", "A column “sku” is needed: it says which product is meant."),
            (b"sku,name\nA,x\n\nB,\0\n", "unreadable_file", "Line 4 holds a NUL character: this is no text."),
            (b"PK\x03\x04", "unreadable_file", "This is a workbook, not CSV. Save it as “CSV UTF-8” first."),
        ],
    )  # fmt: skip
    def test_refused(self, staff: LoggedIn, content: bytes, code: str, sentence: str) -> None:
        response = send(staff, content)

        assert response.status_code == 400
        assert response.json()["type"] == "validation_error"
        assert [(each["code"], each["detail"]) for each in response.json()["errors"]] == [(code, sentence)]
        assert not ImportJob.objects.exists()

    @pytest.mark.parametrize("text", ['sku,name\nA,x\nB,"open\nC,y\n', 'sku,name\nA,x\nB,"a"b\n'])
    def test_a_wrong_quotation_mark_swallows_nothing(self, staff: LoggedIn, text: str) -> None:
        error = send(staff, text).json()["errors"][0]

        assert error["code"] == "unreadable_file"
        assert error["detail"].startswith("Row 3 cannot be read (")
        assert not ImportJob.objects.exists()

    def test_limits(self, staff: LoggedIn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sheets, "MAX_ROWS", 2)
        assert send(staff, "sku\nA\nB\nC\n").status_code == 413
        assert send(staff, "sku\nA\nB\n").status_code == 200
        assert send(staff, b"x" * (11 * 1024 * 1024)).status_code == 413
        assert send(staff, "sku,x\n" + "," * 70_000 + "\n").json()["errors"][0]["code"] == "unknown_column"
        assert send(staff, "sku" + ",attribute:a" * 1000).json()["errors"][0]["detail"] == (
            "The file has 1001 columns; at most 1000 are read."
        )

    def test_no_file(self, staff: LoggedIn) -> None:
        assert staff.post(IMPORT, {}, format="multipart").json()["errors"][0]["attr"] == "file"
        assert staff.post(IMPORT, {"file": "text"}, format="multipart").json()["errors"][0]["attr"] == "file"
        assert send(staff, b"").json()["errors"][0]["attr"] == "file"
        assert staff.post(IMPORT, {}, format="json").status_code == 415
        assert take_in(staff, "sku\n")["total"] == 0


TRICKY = [
    "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\uff1d1+1", "'=1", "''x", "'plain", "007", "4006381333931",
    "1E5", "1-2", "手机 😀", "a,b;c", 'say "hi"', "a|b\\c", "  spaced  ", "TRUE", "null", '"quoted"',
]  # fmt: skip


class TestExport:
    def tricky(self) -> None:
        home = make_category(name="Home > x")
        lights = make_category(name="Lights", parent_id=home.id)
        make_category(name="Lights")
        for number, text in enumerate(TRICKY):
            make_product(
                sku=f"{text.strip()}{'' if number < 12 else number}",
                name=text,
                description=f"{text}\r\nsecond line\n\n=third",
                group=text.strip(),
                category=str(lights.id) if number % 2 else None,
                tags=[text.strip(), "a|b", "c\\"],
                attributes={
                    "text": text, "zero": "007", "number": 60, "float": 60.5, "negative": -5, "yes": True, "no": False,
                    "none": None, "empty": "", "like": "60", " name ": "x", text: "y",
                },
                price=Decimal("1234.50"),
                stock=number,
                active=bool(number % 3),
            )  # fmt: skip

    def test_sent_back_it_changes_nothing(self, staff: LoggedIn) -> None:
        self.tricky()
        content = export(staff)
        before = catalogue()

        result = take_in(staff, content)

        assert (result["total"], result["unchanged"], problems(result)) == (len(TRICKY), len(TRICKY), [])
        assert catalogue() == before

    def test_another_shop_gets_the_same_products(self, staff: LoggedIn) -> None:
        self.tricky()
        content = export(staff)
        kept = ("name", "description", "price", "currency", "group", "tags", "attributes", "active", "category_id")
        before = {
            row.sku: row
            for row in service.get_products(product_ids=list(models.Product.objects.values_list("pk", flat=True)))
        }
        stocks = {sku: each.stock for sku, each in before.items()}
        models.Product.objects.all().delete()

        result = take_in(staff, content)

        assert (result["created"], problems(result)) == (len(TRICKY), [])
        for sku, was in before.items():
            now = product(sku)
            # White space around a text, and which kind of line break it has, are nobody's intention.
            expected = {name: plain(getattr(was, name)) for name in kept}
            assert {name: plain(getattr(now, name)) for name in kept} == expected
            assert {k: type(v) for k, v in now.attributes.items()} == {k: type(v) for k, v in was.attributes.items()}
            assert now.stock == stocks[sku]

    def test_no_cell_is_a_formula(self, staff: LoggedIn) -> None:
        self.tricky()
        (header, *rows) = table(export(staff))

        numbers = {"price", "stock", "attribute:number", "attribute:float", "attribute:negative"}
        cells = [cell for row in rows for name, cell in zip(header, row, strict=True) if name not in numbers]
        assert [cell for cell in cells if cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))] == []
        assert {row[header.index("attribute:negative")] for row in rows} == {"-5"}

    def test_the_form(self, staff: LoggedIn) -> None:
        make_product(sku="A", name="Lamp", price=Decimal("9.99"), stock=3, tags=["x", "y"], attributes={"b": 1})
        make_product(sku="B", name="Sofa", price=Decimal(1), active=False, category="Home", attributes={"a": "z"})

        response = staff.get(EXPORT, headers={"Accept": "text/csv"})

        assert response["Content-Type"] == "text/csv; charset=utf-8"
        assert response["Content-Disposition"] == 'attachment; filename="products.csv"'
        assert response.getvalue().decode("utf-8") == (
            "\ufeffsku,name,description,price,currency,category,group,tags,active,stock,attribute:a,attribute:b\r\n"
            "B,Sofa,,1.00,USD,home,,,false,100,z,\r\n"
            "A,Lamp,,9.99,USD,,,x|y,true,3,,1\r\n"
        )
        assert [row[0] for row in table(export(staff, "?category=home"))] == ["sku", "B"]
        assert [row[0] for row in table(export(staff, "?active=true&tag=x"))] == ["sku", "A"]
        assert [row[0] for row in table(export(staff, "?attributes[b]=1"))] == ["sku", "A"]
        assert staff.get(f"{EXPORT}?min_price=x").status_code == 400

    def test_batches(self, staff: LoggedIn, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(7):
            make_product(sku=f"P{number}", stock=number)
        everything = export(staff)
        monkeypatch.setattr("apps.products.transfer.export.BATCH", 3)

        assert export(staff) == everything
        assert [row[0] for row in table(everything)[1:]] == [f"P{number}" for number in reversed(range(7))]

    def test_a_sale_between_export_and_import_stays_sold(self, staff: LoggedIn) -> None:
        lamp = make_product(sku="A", stock=10)
        content = export(staff)
        order = new_id()
        service.reserve_stock(order_id=order, lines=[StockLine(lamp.id, 4)], hold_for=timedelta(days=365))
        service.commit_reservation(order_id=order)

        assert outcomes(take_in(staff, content)) == [(2, "A", "unchanged")]
        assert service.get_stock(product_id=lamp.id).on_hand == 6


class TestErrors:
    def test_mended_and_sent_again(self, staff: LoggedIn) -> None:
        result = take_in(staff, "sku;name;price;category\n007;=Lamp;9,99;\nB;Sofa;1;\n'=C;x;y;'=Z\n")
        address = f"{IMPORTS}/{result['id']}/errors"

        response = staff.get(address, headers={"Accept": "text/csv"})

        content = response.getvalue()
        assert response["Content-Disposition"] == 'attachment; filename="errors.csv"'
        assert table(content, ";") == [
            ["sku", "name", "price", "category", "error"],
            ["'007", "'=Lamp", "9,99", "", problems(result)[0][2]],
            ["'=C", "x", "y", "'=Z", problems(result)[1][2]],
        ]

        mended = take_in(staff, content.replace(b"9,99", b"9.99").replace(b";y;", b";2;"))

        assert outcomes(mended) == [(2, "007", "created"), (3, "=C", "created")]
        assert (product("007").name, product("=C").category) == ("=Lamp", "=Z")
        assert table(staff.get(f"{IMPORTS}/{mended['id']}/errors").getvalue(), ";") == [
            ["sku", "name", "price", "category", "error"]
        ]

    def test_reading_results(self, staff: LoggedIn) -> None:
        first = take_in(staff, "sku,name,price\nA,Lamp,1\nB,,\nC,Sofa,2\n")
        second = take_in(staff, "sku,name,price\nA,Lamp,1\n", dry_run=True)

        listed = staff.get(IMPORTS).json()["results"]
        assert [each["id"] for each in listed] == [second["id"], first["id"]]
        assert staff.get(f"{IMPORTS}/{first['id']}").json() == listed[1]
        rows = f"{IMPORTS}/{first['id']}/rows"
        page = staff.get(f"{rows}?page_size=2").json()
        assert page["results"] == first["rows"][:2]
        assert staff.get(page["next"]).json()["results"] == first["rows"][2:]
        assert staff.get(f"{rows}?outcome=failed").json()["results"] == first["rows"][1:2]
        assert staff.get(f"{rows}?outcome=lost").status_code == 400
        assert staff.get(f"{rows}?cursor=cD1hYmM%3D").status_code == 404
        assert staff.get(f"{IMPORTS}/{UUID(int=1)}/errors").status_code == 404


class Dying(LocalProductService):
    """A process that is killed after the nth product was written, before that commits."""

    def __init__(self, at: int) -> None:
        self.left = at

    def create_product(self, *, new: NewProduct, actor_id: UUID | None = None) -> Product:
        made = super().create_product(new=new, actor_id=actor_id)
        self.left -= 1
        if not self.left:
            raise SystemExit
        return made


class Overtaken(Planner):
    """Somebody else changes the product, or makes it, after a row was planned and before it is written."""

    theirs: Callable[[], object] | None = None

    def plan(self, line: Line) -> Plan:
        plan = super().plan(line)
        if theirs := Overtaken.theirs:
            Overtaken.theirs = None
            theirs()
        return plan


class Faulty(LocalProductService):
    """A fault of ours, on one product."""

    def create_product(self, *, new: NewProduct, actor_id: UUID | None = None) -> Product:
        made = super().create_product(new=new, actor_id=actor_id)
        if new.sku == "B":
            raise ZeroDivisionError
        return made


class TestRunning:
    def test_larger_files_run_in_the_background(self, staff: LoggedIn) -> None:
        text = "sku,name,price\n" + "".join(f"P{number},Lamp,1\n" for number in range(101))
        response = send(staff, text)

        assert response.status_code == 202
        assert response["Location"].endswith(f"{IMPORTS}/{response.json()['id']}")
        assert (response.json()["state"], response.json()["total"]) == ("queued", 101)
        assert not models.Product.objects.exists()

        deliver_events()

        job = staff.get(response["Location"]).json()
        assert (job["state"], job["done"], job["created"]) == ("finished", 101, 101)
        assert models.Product.objects.count() == 101
        requests = OutboxEvent.objects.using(alias_of("products")).filter(type="import.requested").order_by("sequence")
        assert [(each.sequence, each.data) for each in requests] == [(1, {"chunk": 0}), (2, {"chunk": 1})]

    @pytest.mark.django_db(transaction=True)
    def test_killed_in_the_middle(self) -> None:
        make_product(sku="OLD", stock=5)
        job = job_of(["P1,Lamp,1,,2", "OLD,,,,", "P2,Sofa,1,,3"], "sku,name,price,stock_delta,stock")
        with pytest.raises(SystemExit):
            jobs.run_chunk(Dying(2), job.id, 0)
        job.refresh_from_db()
        # The row before the one in hand was to be noted together with it.
        assert (job.state, job.done, job.created) == ("running", 1, 1)

        jobs.run_chunk(service, job.id, 0)
        job.refresh_from_db()
        before = catalogue()
        jobs.run_chunk(service, job.id, 0)

        assert catalogue() == before
        assert (job.state, job.done, job.failed) == ("finished", 3, 1)
        # A document that was written does not roll back with the rest: it is found, and its stock opened meanwhile.
        assert (job.created, job.unchanged) == ((1, 1) if documents.are_apart() else (2, 0))
        assert [row.number for row in ImportRow.objects.filter(job=job)] == [2, 3, 4]
        assert [service.get_stock(product_id=product(sku).id).on_hand for sku in ("P1", "P2")] == [2, 3]

    def test_a_server_that_goes_away_meanwhile_is_not_asked_twice(self, staff: LoggedIn) -> None:
        """The file was taken in: whoever is told 503 would send it again, and add the stock again."""
        item = make_product(sku="A", stock=1)
        with mock.patch.object(LocalProductService, "adjust_stock", side_effect=OperationalError("away")):
            response = send(staff, "sku,stock_delta\nA,5\n")
        assert (response.status_code, response.json()["state"]) == (202, "queued")

        deliver_events()

        assert staff.get(response["Location"]).json()["updated"] == 1
        assert service.get_stock(product_id=item.id).on_hand == 6

    @pytest.mark.parametrize("column", ["attribute:x", 'attribute:"\\ud800"'])
    def test_half_a_character_fails_its_row(self, staff: LoggedIn, column: str) -> None:
        text = f'sku,name,price,{write([[column]], ",").strip()}\nS1,Lamp,1,"""\\ud800"""\nS2,Sofa,1,plain\n'

        response = send(staff, text)

        assert response.status_code in {200, 400}
        assert not models.Product.objects.filter(sku="S1").exists()
        assert staff.get("/api/v1/products").status_code == 200

    def test_an_event_that_comes_twice_and_late_has_one_effect(self, staff: LoggedIn) -> None:
        text = "sku,name,price\n" + "".join(f"P{number},Lamp,1\n" for number in range(150))
        job = staff.get(send(staff, text)["Location"]).json()["id"]
        deliver_events()
        before = everything_stored()

        events = OutboxEvent.objects.using(alias_of("products")).filter(type="import.requested").order_by("-sequence")
        run_import.apply(args=([each.to_event().to_message() for each in events],))

        assert everything_stored() == before
        assert staff.get(f"{IMPORTS}/{job}").json()["created"] == 150

    def test_a_part_that_is_delivered_twice_adds_stock_once(self) -> None:
        lamp = make_product(sku="A", stock=5)
        job = job_of(["A,3"], "sku,stock_delta")

        for _ in range(2):
            deliver_events()
            jobs.run_chunk(service, job.id, 0)

        assert service.get_stock(product_id=lamp.id).on_hand == 8
        assert ImportRow.objects.count() == 1

    def test_somebody_elses_change_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lamp = make_product(sku="A", attributes={"ours": 1})
        job = job_of(["A,2"], "sku,attribute:ours")
        theirs = ProductChange(attributes={"ours": 1, "theirs": 1})
        monkeypatch.setattr(jobs, "Planner", Overtaken)
        monkeypatch.setattr(Overtaken, "theirs", partial(service.update_product, product_id=lamp.id, change=theirs))

        jobs.run_chunk(service, job.id, 0)

        assert product("A").attributes == {"theirs": 1, "ours": 2}
        assert ImportRow.objects.get().outcome == "updated"

    def test_somebody_else_makes_the_product(self, monkeypatch: pytest.MonkeyPatch) -> None:
        job = job_of(["X,,1,1", "A,Lamp,1,1"])
        monkeypatch.setattr(jobs, "Planner", Overtaken)
        monkeypatch.setattr(Overtaken, "theirs", partial(make_product, sku="a", name="Theirs", stock=7))

        jobs.run_chunk(service, job.id, 0)

        assert [row.outcome for row in ImportRow.objects.filter(job=job)] == ["failed", "updated"]
        assert (product("a").name, product("a").stock) == ("Lamp", 7)

    def test_a_fault_of_ours_is_one_rows_failure(self, caplog: pytest.LogCaptureFixture) -> None:
        job = job_of(["A,Lamp,1,1", "B,Lamp,1,1", "C,Lamp,1,1"])

        jobs.run_chunk(Faulty(), job.id, 0)

        job.refresh_from_db()
        assert (job.state, job.created, job.failed) == ("finished", 2, 1)
        failed = ImportRow.objects.get(outcome="failed")
        assert (failed.sku, failed.problems[0]["code"], failed.cells) == ("B", "error", ["B", "Lamp", "1", "1"])
        assert "ZeroDivisionError" in caplog.text
        if not documents.are_apart():
            assert not models.Product.objects.filter(sku="B").exists()

    def test_an_import_that_cannot_go_on_says_so(self, caplog: pytest.LogCaptureFixture) -> None:
        job = job_of(["A,Lamp,1,1"])
        ImportJob.objects.update(columns=["no such column"])

        jobs.run_chunk(service, job.id, 0)

        job.refresh_from_db()
        assert (job.state, job.done, job.finished_at is None) == ("failed", 0, False)
        assert "UnknownColumn" in caplog.text

    def test_a_part_costs_the_same_number_of_statements(self) -> None:
        make_category(name="Lights")
        header = "sku,name,price,category,attribute:n"
        counts = []
        for size in (10, 100):
            job = job_of(
                [f"{size}-{n},Lamp,{n},{'Lights' if n % 2 else 'New'},{n}" for n in range(size)], header, dry_run=True
            )
            # The job, its part; what is unsettled, unannounced; products, rows before, categories; the job, the rows.
            with sends(9):
                jobs.run_chunk(service, job.id, 0)
            counts.append(ImportJob.objects.get(pk=job.id).created)
        assert counts == [10, 100]

    def test_cleaning(self) -> None:
        old, young = job_of(["A,Lamp,1,1"]), job_of(["B,Lamp,1,1"])
        deliver_events()
        ImportJob.objects.filter(pk=old.pk).update(created_at=old.created_at - timedelta(days=31))

        clean_imports()

        assert [job.pk for job in ImportJob.objects.all()] == [young.pk]
        assert [row.job_id for row in ImportRow.objects.all()] == [young.pk]
        assert [chunk.job_id for chunk in ImportChunk.objects.all()] == [young.pk]
        assert models.Product.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_write_each_row_once() -> None:
    for number in range(20):
        make_product(sku=f"OLD{number}", stock=5)
    rows = [f"OLD{number},,,2" for number in range(20)] + [f"NEW{number},Lamp,1,3" for number in range(20)]
    job = job_of([row.replace(",,,", ",Lamp,1,") for row in rows], "sku,name,price,stock_delta")

    def work(_: int) -> None:
        try:
            jobs.run_chunk(service, job.id, 0)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    job.refresh_from_db()
    assert (job.state, job.done, job.created, job.updated, job.failed) == ("finished", 40, 20, 20, 0)
    assert ImportRow.objects.count() == 40
    stocks = {row.sku: service.get_stock(product_id=row.pk).on_hand for row in models.Product.objects.all()}
    assert stocks == {**{f"OLD{n}": 7 for n in range(20)}, **{f"NEW{n}": 3 for n in range(20)}}


def ten_thousand() -> Iterator[str]:
    yield "sku,name,price,stock,category,attribute:number"
    for number in range(10_000):
        price = "free" if number in {17, 4711, 9998} else f"{number}.50"
        yield f"P{number:05},Product {number},{price},3,Category {number % 20},{number}"


@pytest.mark.once
@pytest.mark.long
def test_ten_thousand_rows_with_three_bad_ones(staff: LoggedIn) -> None:
    text = "\n".join(ten_thousand())
    before = catalogue()

    dry = send(staff, text, dry_run=True)
    deliver_events()
    assert catalogue() == before
    real = send(staff, text)
    deliver_events()

    for response in (dry, real):
        job = staff.get(response["Location"]).json()
        assert (job["state"], job["created"], job["failed"]) == ("finished", 9997, 3)
        assert len(job["new_categories"]) == 20
        (header, *failed) = table(staff.get(f"{response['Location']}/errors").getvalue())
        assert header == ["sku", "name", "price", "stock", "category", "attribute:number", "error"]
        assert [(row[0], row[-1]) for row in failed] == [
            (f"P{number:05}", "“free” is not an amount such as 9.99.") for number in (17, 4711, 9998)
        ]
    assert models.Product.objects.count() == 9997
    again = send(staff, export(staff), dry_run=True)
    deliver_events()
    assert staff.get(again["Location"]).json()["unchanged"] == 9997


class TestAdmin:
    PRODUCTS = "/admin/products/product/"

    @pytest.fixture
    def pages(self, client: Client, log_in: Callable[..., LoggedIn]) -> Client:
        client.force_login(log_in(Role.CATALOG_STAFF).user)
        return client

    def upload(self, pages: Client, content: bytes, **fields: str) -> Any:  # noqa: ANN401 - a response
        file = SimpleUploadedFile("lamps.csv", content, "text/csv")
        return pages.post(f"{self.PRODUCTS}import/", {"file": file, **fields})

    def test_dry_run_first_then_for_real(self, pages: Client) -> None:
        assert f'href="{self.PRODUCTS}import/"' in pages.get(self.PRODUCTS).content.decode()
        asked = pages.get(f"{self.PRODUCTS}import/").content.decode()
        assert re.search(r'<input[^>]*name="dry_run"[^>]* checked', asked)

        tried = self.upload(pages, b"sku,name,price,category\nA,Lamp,1,Lihgts\nB,,2,\n", dry_run="on")

        page = pages.get(tried["Location"]).content.decode()
        assert "Nothing was changed" in page
        assert "Import for real" in page
        assert "“Lihgts”" in page
        assert "A product needs a name." in page
        assert "http-equiv" not in page
        assert not models.Product.objects.exists()

        dry = ImportJob.objects.get()
        done = pages.post(f"/admin/products/importjob/{dry.id}/run/")

        page = pages.get(done["Location"], {"outcome": "failed"}).content.decode()
        assert "A product needs a name." in page
        assert "Import for real" not in page
        assert "Import for real" not in pages.get(tried["Location"]).content.decode()
        again = pages.post(f"/admin/products/importjob/{dry.id}/run/", follow=True)
        assert "This file was imported already." in again.content.decode()
        assert ImportJob.objects.count() == 2
        assert product("A").price == Decimal("1.00")
        job = ImportJob.objects.exclude(pk=dry.id).get()
        assert (job.created, job.failed, job.dry_run, job.file_name) == (1, 1, False, "lamps.csv")
        errors = pages.get(f"/admin/products/importjob/{job.id}/errors/")
        assert table(errors.getvalue())[1:] == [["B", "", "2", "", "A product needs a name."]]

    def test_progress(self, pages: Client) -> None:
        rows = "".join(f"P{number},Lamp,1\n" for number in range(101))
        page = self.upload(pages, f"sku,name,price\n{rows}".encode())["Location"]

        assert '<meta http-equiv="refresh" content="2">' in pages.get(page).content.decode()
        deliver_events()
        assert "http-equiv" not in pages.get(page, {"p": "2"}).content.decode()
        assert models.Product.objects.count() == 101
        assert pages.get("/admin/products/importjob/").status_code == 200

    def test_a_file_that_cannot_be_read(self, pages: Client) -> None:
        response = self.upload(pages, b"sku,prize\n")

        assert response.status_code == 200
        assert "Did you mean “price”?" in response.content.decode()
        assert not ImportJob.objects.exists()

    def test_export_is_of_what_is_listed(self, pages: Client) -> None:
        make_product(sku="A", name="Lamp")
        make_product(sku="B", name="Sofa", active=False)

        assert [row[0] for row in table(pages.get(f"{self.PRODUCTS}export/").getvalue())] == ["sku", "B", "A"]
        found = pages.get(f"{self.PRODUCTS}export/?active__exact=0").getvalue()
        assert [row[0] for row in table(found)] == ["sku", "B"]
        assert [row[0] for row in table(pages.get(f"{self.PRODUCTS}export/?q=lamp").getvalue())] == ["sku", "A"]

    @pytest.mark.parametrize("role", [Role.USER, Role.ORDER_STAFF])
    def test_not_for_others(self, client: Client, log_in: Callable[..., LoggedIn], role: Role) -> None:
        job = job_of(["A,Lamp,1,1"], dry_run=True)
        client.force_login(log_in(role).user)

        job_page = f"/admin/products/importjob/{job.id}"
        for page in (f"{self.PRODUCTS}export/", f"{job_page}/errors/", f"{job_page}/change/"):
            assert client.get(page).status_code in {302, 403}
        for page in (f"{self.PRODUCTS}import/", f"{job_page}/run/"):
            assert client.post(page).status_code in {302, 403}
        assert ImportJob.objects.count() == 1
