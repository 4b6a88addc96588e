"""What people may ask of their data: all of it, an end of it; and what staff change of them is kept."""

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from io import StringIO
from threading import Barrier

import pytest
from django.db import connections
from pytest_django import DjangoCaptureOnCommitCallbacks
from rest_framework.test import APIClient

from apps.common.databases import alias_of
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.users import second_factor
from apps.users.interface import ActivityLine, Client, InvalidToken, LastAdmin, Role, UserNotFound, WrongCredentials
from apps.users.models import AccessChange, Activity, SecondFactor, Session, User
from apps.users.services import LocalUserService
from apps.users.tests.factories import PASSWORD, UserFactory, turn_on
from tests.flow import SESSION, LoggedIn, sends

pytestmark = pytest.mark.django_db

users = LocalUserService()
USERS = "/api/v1/users"
LogIn = Callable[..., LoggedIn]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
# No part of an id, in hexadecimal, looks like any of these.
PERSON = {
    "username": "ada_l",
    "email": "ada_l@example.com",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "phone": "+44 20 555",
    "address": "12 St James's Square",
}


def told() -> list[tuple[str, object]]:
    rows = OutboxEvent.objects.using(alias_of("users")).order_by("id")
    return [(row.type, row.data) for row in rows]


# --- Erasing -------------------------------------------------------------------------------------


def test_nothing_of_the_person_is_left(
    log_in: LogIn, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    client = log_in(**PERSON)
    user = client.user
    turn_on(user)
    users.manage_user(actor_id=new_id(), user_id=user.pk, role=Role.CATALOG_STAFF)
    pair = users.log_in(
        login="ada_l", password=PASSWORD, client=Client("192.0.2.77", "Firefox"), otp=_recovery_code_of(user)
    )
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
    with django_capture_on_commit_callbacks(execute=True):
        response = client.delete(f"{USERS}/profile", {"password": PASSWORD})
    assert (response.status_code, response.content) == (204, b"")
    row = User.objects.values().get()
    for value in PERSON.values():
        assert value not in str(row)
    assert (row["role"], row["active"], row["email_verified"]) == (Role.USER, False, False)
    assert row["password"].startswith("!")
    assert row["erased_at"] is not None
    assert set(Session.objects.values_list("address", "agent")) == {(None, "")}
    assert not Session.objects.filter(revoked_at=None).exists()
    assert list(Activity.objects.values_list("action", flat=True)) == ["user.access_changed"]
    assert not SecondFactor.objects.exists()
    assert told()[-1] == ("user.deleted", {"user_id": str(user.pk)})
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=pair.access)
    with pytest.raises(InvalidToken):
        users.refresh(refresh_token=pair.refresh, client=Client("", ""))


def _recovery_code_of(user: User) -> str:
    second_factor.turn_off(user)
    return turn_on(user)[0]


@pytest.mark.parametrize("password", ["wrong", None])
def test_only_the_owner_erases(log_in: LogIn, password: str | None) -> None:
    client = log_in(**PERSON)
    before = User.objects.values().get()
    body = {"password": password} if password else {}
    response = client.delete(f"{USERS}/profile", body)
    expected = (401, "wrong_credentials") if password else (400, "required")
    assert (response.status_code, response.json()["errors"][0]["code"]) == expected
    assert User.objects.values().get() == before
    assert told() == []


def test_an_erased_account_is_found_by_nobody(log_in: LogIn, api: APIClient) -> None:
    user = UserFactory(**PERSON)
    users.erase_user(user_id=user.pk, password=PASSWORD)
    for login in ("ada_l", "ada_l@example.com", User.objects.get().email, User.objects.get().username):
        with pytest.raises(WrongCredentials):
            users.log_in(login=login, password=PASSWORD, client=Client("", ""))
    with pytest.raises(UserNotFound):
        users.get_user_by_email(email=User.objects.get().email)
    with pytest.raises(UserNotFound):
        users.manage_user(actor_id=new_id(), user_id=user.pk, active=True)
    admin = log_in(Role.ADMIN)
    assert admin.get(f"{USERS}/{user.pk}").status_code == 404
    assert [found["id"] for found in admin.get(USERS).json()["results"]] == [str(admin.user.pk)]
    taken = {"username": "ada_l", "email": "ada_l@example.com", "password": PASSWORD}
    assert api.post(f"{USERS}/register", taken).status_code == 201


def test_a_log_that_is_told_late_stays_empty() -> None:
    user = UserFactory(**PERSON)
    users.erase_user(user_id=user.pk, password=PASSWORD)
    line = ActivityLine(
        user.pk, "order.paid", "Paid order 1.", datetime.fromisoformat("2026-01-02T03:04:05Z"), new_id()
    )
    users.record_activities(lines=[line])
    assert not Activity.objects.exists()


def test_the_last_admin_is_not_erased(log_in: LogIn) -> None:
    client = log_in(Role.ADMIN)
    UserFactory(role=Role.ADMIN, active=False)
    response = client.delete(f"{USERS}/profile", {"password": PASSWORD})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (409, "last_admin")
    assert User.objects.get(pk=client.user.pk).active
    UserFactory(role=Role.ADMIN)
    assert client.delete(f"{USERS}/profile", {"password": PASSWORD}).status_code == 204


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_remove_each_other_at_once_one_is_left() -> None:
    admins = [UserFactory(role=Role.ADMIN) for _ in range(2)]
    barrier = Barrier(2)

    def remove(number: int) -> object:
        try:
            barrier.wait(10)
            return users.manage_user(actor_id=admins[number].pk, user_id=admins[1 - number].pk, role=Role.USER).id
        except DomainError as error:
            return type(error)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(remove, range(2)))
    assert outcomes.count(LastAdmin) == 1
    assert User.objects.filter(role=Role.ADMIN, active=True).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_of_three_admins_who_remove_each_other_do_not_wait_for_each_other() -> None:
    admins = [UserFactory(role=Role.ADMIN) for _ in range(3)]
    barrier = Barrier(2)

    def remove(number: int) -> Role:
        try:
            barrier.wait(10)
            return users.manage_user(actor_id=admins[2].pk, user_id=admins[number].pk, role=Role.USER).role
        finally:
            connections.close_all()

    for _ in range(10):
        User.objects.filter(pk__in=[each.pk for each in admins]).update(role=Role.ADMIN)
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(remove, range(2))) == [Role.USER, Role.USER]


# --- Handing out ---------------------------------------------------------------------------------


def test_an_export_has_everything(log_in: LogIn) -> None:
    client = log_in(**PERSON)
    users.log_in(login="ada_l", password=PASSWORD, client=Client("192.0.2.7", FIREFOX))
    users.end_other_sessions(user_id=client.user.pk, session_id=users.list_sessions(user_id=client.user.pk)[1].id)
    with sends(SESSION + 3):
        response = client.get(f"{USERS}/profile/export")
    assert response["Content-Disposition"] == 'attachment; filename="my-data.json"'
    data = response.json()
    assert set(data) == {"user", "sessions", "activities", "orders"}
    assert {name: data["user"][name] for name in PERSON} == PERSON
    assert [(each["address"], each["device"], each["current"]) for each in data["sessions"]] == [
        ("192.0.2.7", "Firefox on Linux", False),
        ("127.0.0.1", "", True),
    ]
    assert [each["action"] for each in data["activities"]] == [
        "user.sessions_ended",
        "user.logged_in",
        "user.logged_in",
    ]
    assert data["orders"] == {"href": "http://testserver/api/v1/orders?page_size=100"}
    assert client.get(data["orders"]["href"]).json() == {"next": None, "previous": None, "results": []}
    assert "argon" not in response.content.decode()
    assert client.user.password not in response.content.decode()


def test_the_activity_log_as_a_file(log_in: LogIn) -> None:
    client = log_in()
    rows = [Activity(user=client.user, action="order.paid", details=f"=Paid {number}") for number in range(1100)]
    Activity.objects.bulk_create(rows)
    response = client.get(f"{USERS}/activity", headers={"accept": "text/csv"})
    text = b"".join(response).decode()
    assert (response["Content-Type"], response["Content-Disposition"]) == (
        "text/csv; charset=utf-8",
        'attachment; filename="activity.csv"',
    )
    header, *lines = csv.reader(StringIO(text.removeprefix("\ufeff")))
    assert header == ["happened_at", "action", "details"]
    assert len(lines) == 1101
    assert lines[0][1:] == ["order.paid", "'=Paid 1099"]
    assert lines[-1][1:] == ["user.logged_in", "Logged in from 127.0.0.1."]
    other = log_in()
    refused = other.get(f"{USERS}/activity?user={client.user.pk}", headers={"accept": "text/csv"})
    assert (refused.status_code, refused["Content-Type"]) == (403, "application/json")


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (FIREFOX, "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/19.0 Safari/605", "Safari on macOS"),
        ("curl/8.9.1", "curl/8.9.1"),
        ("", ""),
        ("x" * 200, "x" * 40),
    ],
)
def test_sessions_say_what_they_are_on(log_in: LogIn, agent: str, device: str) -> None:
    client = log_in()
    Session.objects.update(agent=agent)
    assert [each["device"] for each in client.get(f"{USERS}/sessions").json()] == [device]


def test_all_other_sessions_end(
    log_in: LogIn, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    client, stranger = log_in(), log_in()
    others = [users.log_in(login=client.user.email, password=PASSWORD, client=Client("", "")) for _ in range(2)]
    with django_capture_on_commit_callbacks(execute=True), sends(SESSION + 4):
        assert client.delete(f"{USERS}/sessions").status_code == 204
    assert [each["current"] for each in client.get(f"{USERS}/sessions").json()] == [True]
    for pair in others:
        with pytest.raises(InvalidToken):
            users.authenticate(access_token=pair.access)
    assert stranger.get(f"{USERS}/sessions").status_code == 200
    assert client.delete(f"{USERS}/sessions").status_code == 204  # there are none: no line in the log
    assert Activity.objects.filter(action="user.sessions_ended").values_list("details", flat=True).get() == (
        "Ended 2 other sessions."
    )


# --- Roles ---------------------------------------------------------------------------------------


def test_what_an_admin_changes_is_kept_and_told(log_in: LogIn) -> None:
    admin, user = log_in(Role.ADMIN), UserFactory()
    assert admin.patch(f"{USERS}/{user.pk}", {"role": "order_staff"}).status_code == 200
    assert admin.patch(f"{USERS}/{user.pk}", {"role": "order_staff"}).status_code == 200  # nothing more
    assert admin.patch(f"{USERS}/{user.pk}", {"role": "user", "active": False}).status_code == 200
    fields = ("user_id", "actor_id", "role_before", "role_after", "active_before", "active_after")
    assert list(AccessChange.objects.order_by("id").values_list(*fields)) == [
        (user.pk, admin.user.pk, "user", "order_staff", True, True),
        (user.pk, admin.user.pk, "order_staff", "user", True, False),
    ]
    lines = Activity.objects.filter(user=user).order_by("id")
    who = f"The admin {admin.user.pk}"
    assert [(line.action, line.details) for line in lines] == [
        ("user.access_changed", f"{who} changed the role from user to order_staff."),
        ("user.access_changed", f"{who} changed the role from order_staff to user and deactivated the account."),
    ]


def test_a_change_that_is_refused_is_not_kept(log_in: LogIn) -> None:
    admin = log_in(Role.ADMIN)
    assert admin.patch(f"{USERS}/{admin.user.pk}", {"role": "user"}).status_code == 409
    assert admin.patch(f"{USERS}/{new_id()}", {"role": "user"}).status_code == 404
    assert not AccessChange.objects.exists()
