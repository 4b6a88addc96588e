"""Products in CSV, in and out."""

import csv
from io import StringIO
from typing import Any

from tests.blackbox.callers import Answer
from tests.blackbox.matching import ANYTHING, ID, SENTENCE, SOMETHING, TIME, check, each, has, text
from tests.blackbox.stage import NOBODY, Stage

_CSV = {"Content-Type": "text/csv"}
_IMPORT = "products/import"


def _job(**fields: object) -> dict[str, Any]:
    """An import as the API shows one."""
    counts = {"total": 0, "done": 0, "created": 0, "updated": 0, "unchanged": 0, "failed": 0, **fields}
    about = {"id": ID, "state": "finished", "dry_run": False, "file_name": "", "new_categories": [], "requested_by": ID}
    return {**about, "created_at": TIME, "started_at": TIME, "finished_at": TIME, **counts}


def _row(number: int, sku: str, outcome: str, **fields: object) -> dict[str, Any]:
    return {"row": number, "sku": sku, "outcome": outcome, "product_id": ID, "problems": [], "notes": [], **fields}


def importing_a_few_products(stage: Stage) -> None:
    category, one, two, bad = stage.name("Lights "), stage.name("one-"), stage.name("two-"), stage.name("bad-")
    table = f"sku,name,price,stock,category\n{one},Lamp,9.99,5,{category}\n{two},Sofa,10,,\n{bad},Bed,free,,\n"
    by = stage.catalog.id
    counts = {"total": 3, "done": 3, "created": 2, "failed": 1, "new_categories": [category], "requested_by": by}
    problem = {"code": SOMETHING, "detail": SENTENCE, "attr": "price"}
    failed = _row(4, bad, "failed", product_id=None, problems=[problem])

    dry = _send(stage, table, "?dry_run=true")
    notes = [text("note", f".*“{category}”.*")]
    rows = [_row(2, one, "created", product_id=None, notes=notes), _row(3, two, "created", product_id=None), failed]
    dry.said(200, {**_job(**counts, dry_run=True), "rows": rows})
    stage.catalog.get(f"products?category={category}").said(200, has(count=0))

    rows = [_row(2, one, "created", notes=notes), _row(3, two, "created"), failed]
    real = _send(stage, table).said(200, {**_job(**counts), "rows": rows})
    product = stage.guest.get(f"products/{real['rows'][0]['product_id']}")
    product.said(200, has(sku=one, name="Lamp", price="9.99", stock=5, category=category))

    again = _send(stage, f"sku,price,stock_delta\n{one},8.50,3\n{two},10,\n")
    rows = [_row(2, one, "updated"), _row(3, two, "unchanged")]
    again.said(200, {**_job(total=2, done=2, updated=1, unchanged=1, requested_by=by), "rows": rows})
    stage.guest.get(f"products/{product['id']}").said(200, has(price="8.50", stock=8))
    _reading_results(stage, real, failed)
    _exporting(stage, category, one)


def _reading_results(stage: Stage, job: Answer, failed: dict[str, Any]) -> None:
    path = f"products/imports/{job['id']}"
    stage.catalog.get(path).said(200, {name: value for name, value in job.body.items() if name != "rows"})
    stage.catalog.get(f"{path}/rows").said(200, {"next": None, "previous": None, "results": job["rows"]})
    stage.catalog.get(f"{path}/rows?outcome=failed").said(200, {"next": None, "previous": None, "results": [failed]})
    stage.catalog.get(f"{path}/rows?outcome=lost").refused(400, "invalid_choice", "outcome")
    errors = stage.catalog.get(f"{path}/errors").said(200, content_type=text("CSV", r"text/csv; ?charset=utf-8"))
    header, row = csv.reader(StringIO(errors.body))
    check(["sku", "name", "price", "stock", "category", "error"], header, "the columns of the errors")
    check([failed["sku"], "Bed", "free", "", "", SENTENCE], row, "the row that failed")
    stage.catalog.get(f"products/imports/{NOBODY}").refused(404, "import_not_found")
    # Others import, too.
    listed = stage.catalog.get("products/imports?page_size=1", is_noted=False)
    job_of = has(**dict.fromkeys(_job(), ANYTHING))
    listed.said(200, {"next": ANYTHING, "previous": None, "results": each(job_of)})
    listed.noted(sorted(listed["results"][0]))


def _exporting(stage: Stage, category: str, sku: str) -> None:
    answer = stage.catalog.get(f"products/export?category={category}")
    disposition = text("a file's name", r'attachment; filename="products\.csv"')
    answer.said(200, content_type=text("CSV", r"text/csv; ?charset=utf-8"), content_disposition=disposition)
    header, row = csv.reader(StringIO(answer.body))
    columns = ["sku", "name", "description", "price", "currency", "category", "group", "tags", "active", "stock"]
    check(columns, header, "the columns")
    slug = stage.guest.get(f"products/search?q={category}")["facets"]["categories"][0]["slug"]
    check(
        [sku, "Lamp", "", "8.50", "USD", text("category", rf"{slug}|{category}"), "", "", "true", "8"], row, "the row"
    )
    back = _send(stage, answer.body)
    back.said(200, has(total=1, unchanged=1, failed=0, updated=0))


def importing_many_products(stage: Stage) -> None:
    """More than a hundred rows are imported in the background."""
    word = stage.name("gadget")
    rows = [f"{word}-{number},{word} {number},{number}.50,1" for number in range(1, 121)]
    table = "\n".join(["sku,name,price,stock", *rows, f"{word}-x,,free,"])
    answer = _send(stage, table, is_noted=False)
    location = text("its address", r"(https?://[^/]+)?/api/v1/products/imports/[0-9a-f-]{36}")
    shape = _job(**dict.fromkeys(("state", "done", "created", "failed"), ANYTHING), total=121, requested_by=ID)
    answer.said(202, {**shape, "started_at": ANYTHING, "finished_at": None}, location=location)
    path = f"products/imports/{answer['id']}"
    done = stage.eventually(lambda: stage.catalog.get(path), lambda answer: answer["state"] == "finished")
    done.said(200, _job(total=121, done=121, created=120, failed=1, requested_by=stage.catalog.id))
    found = f"products/search?q={word}&page_size=1&ordering=-price"
    hit = stage.eventually(lambda: stage.guest.get(found), lambda answer: answer["count"] == 120)
    check(has(name=f"{word} 120", price="120.50", stock=1), hit["results"][0], "the dearest")
    stage.order((hit["results"][0]["id"], 1))


def files_that_are_refused(stage: Stage) -> None:
    _send(stage, "sku,name,price\nA,B,1\n", "?dryrun=true").refused(400, "unknown_field", "dryrun")
    _send(stage, "sku,name,prize\nA,B,1\n").refused(400, "unknown_column", "prize")
    _send(stage, "name,price\nB,1\n").refused(400, "missing_column", "sku")
    _send(stage, "").refused(400, "required", "file")
    _send(stage, "\n").refused(400, "unreadable_file")
    stage.catalog.post(_IMPORT, {"sku": "A"}).refused(415, "unsupported_media_type")
    form = {"file": ("lamps.csv", b"sku,price\n", "text/csv")}
    stage.catalog.post(_IMPORT, files=form).said(200, has(file_name="lamps.csv", total=0))
    stage.catalog.post(_IMPORT, files={"table": form["file"]}).refused(400, "unknown_field", "table")


def _send(stage: Stage, table: str, query: str = "", *, is_noted: bool = True) -> Answer:
    return stage.catalog.post(f"{_IMPORT}{query}", content=table.encode(), headers=_CSV, is_noted=is_noted)


SCENARIOS = (importing_a_few_products, importing_many_products, files_that_are_refused)
