"""Pages that belong to no service."""

import re

from tests.blackbox.matching import SENTENCE, Mismatch, check, has, text
from tests.blackbox.stage import Stage

BROWSER = {"Accept": "text/html"}
PROGRAM = {"Accept": "application/json"}
OPENAPI = text("JSON", r"application/(vnd\.oai\.openapi\+)?json.*")
HTML = text("HTML", r"text/html; charset=utf-8")


def the_shop_is_alive(stage: Stage) -> None:
    stage.guest.get("/health").said(200, {"status": "ok"}, content_type="application/json")
    stage.guest.post("/health").refused(405, "method_not_allowed").said(405, allow="GET, HEAD")


def the_shop_is_ready(stage: Stage) -> None:
    """By design, what a process depends on is its own: it is not compared, but all of it must answer."""
    answer = stage.guest.get("/ready", is_noted=False)
    answer.said(200, {"status": "ok", "checks": has()}, content_type="application/json").noted({"status": "ok"})
    check({"ok"}, set(answer["checks"].values()), "what the shop depends on")


def the_landing_page(stage: Stage) -> None:
    stage.guest.get("/", headers=BROWSER).said(200, content_type=HTML)


def the_openapi_document(stage: Stage) -> None:
    answer = stage.guest.get("/api/schema/", headers=PROGRAM, is_noted=False)
    document = answer.said(200, has(openapi="3.1.0", paths=has(), components=has()), content_type=OPENAPI).body
    answer.noted({path: sorted(calls) for path, calls in document["paths"].items()})


def the_documentation_comes_from_the_shop_itself(stage: Stage) -> None:
    page = stage.guest.get("/api/docs/", headers=BROWSER).said(200, content_type=HTML).body
    files = re.findall(r'(?:src|href)="([^"]+\.(?:js|css|png)[^"]*)"', page)
    if not files or any("//" in file for file in files):
        raise Mismatch(f"The documentation is made of {files}: of nothing, or of what is elsewhere.")
    for file in files:
        stage.guest.get(file, is_noted=False).said(200)


def an_address_that_is_none(stage: Stage) -> None:
    stage.guest.get("/nothing", headers=PROGRAM).refused(404, "not_found", detail=SENTENCE)
    stage.guest.get("/api/nothing", headers=BROWSER).refused(404, "not_found")
    stage.guest.get("/nothing", headers=BROWSER).said(404, text("a page", r".*<html.*"), content_type=HTML)
    stage.guest.post("/nothing", {}, headers=PROGRAM).refused(404, "not_found")


SCENARIOS = (
    the_shop_is_alive,
    the_shop_is_ready,
    the_landing_page,
    the_openapi_document,
    the_documentation_comes_from_the_shop_itself,
    an_address_that_is_none,
)
