"""What staff have done is noted, with what there was before."""

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connections
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from apps.common.admin import record
from apps.common.databases import every_alias
from apps.common.staff_log import Change, changes_in, changes_of, sentence_of
from apps.products.models import Product
from apps.products.tests.factories import make_product
from apps.users.interface import Role

pytestmark = pytest.mark.django_db
STATEMENTS = 2


def statements(call: Callable[[], object]) -> list[str]:
    """What is asked of any database meanwhile."""
    with ExitStack() as stack:
        heard = [stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in every_alias()]
        call()
    return [query["sql"] for each in heard for query in each.captured_queries]


class Form(forms.Form):
    name = forms.CharField()
    tags = forms.CharField(required=False)
    api_token = forms.CharField()
    phone = forms.CharField(required=False)


def test_an_action_is_recorded_with_what_it_changed(log_in: Callable[..., Any]) -> None:
    request = RequestFactory().post("/")
    request.user = log_in(Role.ADMIN).user
    product = Product.objects.get(pk=make_product(name="<b>Lamp</b>").id)

    record(
        request,
        product,
        "Stock corrected",
        before={"stock": 5, "reason": None, "secret_code": "a"},
        after={"stock": 3, "reason": None, "secret_code": "b"},
    )

    entry = LogEntry.objects.get()
    assert (entry.user_id, entry.object_id, entry.object_repr, entry.action_flag) == (
        request.user.pk,
        str(product.pk),
        "<b>Lamp</b>",
        CHANGE,
    )
    assert sentence_of(entry) == "Stock corrected"
    assert changes_in(entry) == [Change("stock", "5", "3"), Change("secret_code", is_secret=True)]
    assert '"a"' not in entry.change_message
    assert entry.get_change_message() == "Changed stock and secret_code."


def test_of_secret_and_private_fields_no_value_is_kept() -> None:
    given = {"name": "b", "tags": "x" * 400, "api_token": "new", "phone": "2"}
    form = Form(given, initial={"name": "a", "tags": "", "api_token": "old", "phone": "1"})
    assert form.is_valid()

    changes = changes_of(form, private=["phone"])

    assert changes == [
        Change("Name", "a", "b"),
        Change("Tags", "", "x" * 300 + "…"),
        Change("Api token", is_secret=True),
        Change("Phone", is_secret=True),
    ]


def test_entries_of_older_programs_can_be_read() -> None:
    plain = LogEntry(action_flag=CHANGE, change_message="Changed something.")
    django = LogEntry(action_flag=CHANGE, change_message=json.dumps([{"changed": {"fields": ["Name"]}}]))

    assert (sentence_of(plain), changes_in(plain)) == ("Changed", [])
    assert (sentence_of(django), changes_in(django)) == ("Changed", [Change("Name", is_secret=True)])


def test_a_form_leaves_what_there_was_before_and_the_history_shows_it(
    client: Client, log_in: Callable[..., Any]
) -> None:
    client.force_login(log_in(Role.CATALOG_STAFF).user)
    client.post("/admin/products/category/add/", {"name": "Lights", "slug": "", "parent": ""})
    added = LogEntry.objects.get()
    page = f"/admin/products/category/{added.object_id}/"
    client.post(f"{page}change/", {"name": "<i>Lamps</i>", "slug": "lights", "parent": ""})

    changed = LogEntry.objects.exclude(pk=added.pk).get()
    assert (sentence_of(added), changes_in(added)) == ("Added", [])
    assert changes_in(changed) == [Change("Name", "Lights", "<i>Lamps</i>")]
    content = client.get(f"{page}history/").content.decode()
    assert "&lt;i&gt;Lamps&lt;/i&gt;" in content
    assert "<i>Lamps</i>" not in content
    assert re.search(r">\s*2 entries\s*<", content)
    assert content.index("Lights</del>") < content.index("&lt;i&gt;Lamps&lt;/i&gt;</ins>")


def test_admins_see_what_everybody_did_and_may_ask_for_one_person(client: Client, log_in: Callable[..., Any]) -> None:
    people = [log_in(Role.CATALOG_STAFF).user, log_in(Role.ADMIN).user]
    for number, person in enumerate(people):
        client.force_login(person)
        client.post("/admin/products/category/add/", {"name": f"Category {number}", "slug": "", "parent": ""})
    page = "/admin/admin/logentry/"

    everything = client.get(page).content.decode()
    assert [f"Category {number}</a>" in everything for number in range(2)] == [True, True]
    for query in ({"user__id__exact": str(people[0].pk)}, {"q": people[0].email.upper()}, {"q": people[0].username}):
        of_one = client.get(page, query).content.decode()
        assert [f"Category {number}</a>" in of_one for number in range(2)] == [True, False]
    assert client.get(f"{page}add/").status_code == 403


@pytest.mark.parametrize("role", [Role.CATALOG_STAFF, Role.ORDER_STAFF])
def test_what_staff_did_is_for_admins(client: Client, log_in: Callable[..., Any], role: Role) -> None:
    client.force_login(log_in(role).user)

    assert client.get("/admin/admin/logentry/").status_code == 403


def test_the_list_of_what_staff_did_costs_the_same_however_long(client: Client, log_in: Callable[..., Any]) -> None:
    client.force_login(log_in(Role.ADMIN).user)
    for number in range(6):
        client.post("/admin/products/category/add/", {"name": f"Category {number}", "slug": "", "parent": ""})
    assert len(statements(lambda: client.get("/admin/admin/logentry/"))) == STATEMENTS
