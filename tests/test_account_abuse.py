"""Ways in which accounts are attacked, each tried."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import grpc
import pytest
from django.contrib.auth import hashers
from django.test import Client as Browser
from limits import parse_many
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.events.models import OutboxEvent
from apps.users import proofs
from apps.users.interface import Role
from apps.users.models import AccessChange, Session, User
from apps.users.proofs import Purpose
from apps.users.tests.factories import PASSWORD, UserFactory
from config import services
from grpc_api.gen import user_pb2 as pb
from grpc_api.gen.user_pb2_grpc import UserServiceStub
from grpc_api.servers.users import hosted
from grpc_api.tests.running import bearer, channel_to, person, refusal, serving, token_for
from tests.flow import LoggedIn, statements

pytestmark = pytest.mark.django_db

USERS = "/api/v1/users"
LogIn = Callable[..., LoggedIn]


@contextmanager
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a request costs that an attacker could measure: hashes of passwords, and what kinds of statements."""
    done: list[str] = []
    kind = type(hashers.get_hasher())
    encode = kind.encode

    def counted(*arguments: Any, **options: Any) -> str:  # noqa: ANN401 - of any hasher
        done.append("hash")
        text: str = encode(*arguments, **options)
        return text

    with monkeypatch.context() as patched, statements() as sent:
        patched.setattr(kind, "encode", counted)
        yield done
    done += [" ".join(statement.split()[:3]) for statement in sent]


def said(response: Any) -> tuple[int, object]:  # noqa: ANN401 - the test client's
    return response.status_code, response.json() if response.content else None


# --- Finding out who has an account --------------------------------------------------------------


def test_logging_in_costs_and_says_the_same_whoever_has_an_account(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    UserFactory(email="known@example.com")
    UserFactory(email="inactive@example.com", active=False)
    bodies = [
        {"email": "known@example.com", "password": "wrong"},
        {"email": "unknown@example.com", "password": "wrong"},
        {"email": "inactive@example.com", "password": PASSWORD},
    ]
    answers, costs = [], []
    for body in bodies:
        with work(monkeypatch) as done:
            answers.append(said(api.post(f"{USERS}/login", body)))
        costs.append(done)
    assert answers[0] == answers[1] == answers[2]
    assert costs[0] == costs[1] == costs[2]
    assert costs[0].count("hash") == 1
    assert len(costs[0]) == 4  # a hash, the account, what was counted, counting


def test_a_closed_account_costs_and_says_the_same_as_a_closed_name_that_nobody_has(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.LOCK_ACCOUNT_AFTER = 1
    UserFactory(email="known@example.com")
    answers, costs = [], []
    for email in ("known@example.com", "unknown@example.com"):
        api.post(f"{USERS}/login", {"email": email, "password": "wrong"})
        with work(monkeypatch) as done:
            answers.append(said(api.post(f"{USERS}/login", {"email": email, "password": PASSWORD})))
        costs.append(done)
    assert answers[0] == answers[1]
    assert costs[0] == costs[1]
    assert costs[0].count("hash") == 1


def test_asking_for_a_new_password_costs_and_says_the_same_whoever_has_an_account(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    UserFactory(email="known@example.com")
    UserFactory(email="inactive@example.com", active=False)
    answers, costs = [], []
    for name in ("known", "unknown", "inactive"):
        with work(monkeypatch) as done:
            answers.append(said(api.post(f"{USERS}/password/reset", {"email": f"{name}@example.com"})))
        costs.append(done)
    assert answers == [(202, None)] * 3
    assert costs == [['INSERT INTO "events_outboxevent"']] * 3


def test_registering_costs_a_hash_whether_or_not_the_address_is_taken_and_is_limited(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """It says that an address is taken, as its owner must learn that somehow. So it is limited."""
    settings.RATE_LIMITS = {"credentials": parse_many("3/minute")}
    UserFactory(email="known@example.com")
    hashes = []
    for name in ("known", "unknown"):
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        with work(monkeypatch) as done:
            api.post(f"{USERS}/register", body)
        hashes.append(done.count("hash"))
    assert hashes == [1, 1]
    answers = [api.post(f"{USERS}/register", {}).status_code for _ in range(2)]
    assert answers == [400, 429]


# --- Guessing ------------------------------------------------------------------------------------


def test_stolen_lists_of_passwords_are_stopped_by_address(api: APIClient, settings: Settings) -> None:
    """One guess for each of many accounts: no account sees many, but the address does."""
    settings.LOCK_ADDRESS_AFTER = 20
    victim = UserFactory()
    for number in range(20):
        user = UserFactory() if number % 2 else None
        email = user.email if user else f"nobody{number}@example.com"
        answer = api.post(f"{USERS}/login", {"email": email, "password": "from a list"})
        assert answer.status_code == 401
    right = {"email": victim.email, "password": PASSWORD}
    assert api.post(f"{USERS}/login", right).json()["errors"][0]["code"] == "wrong_credentials"
    assert not Session.objects.exists()
    assert api.post(f"{USERS}/login", right, REMOTE_ADDR="198.51.100.1").status_code == 200


def test_a_link_to_a_new_password_works_once(api: APIClient) -> None:
    user = UserFactory()
    body = {"token": proofs.write(Purpose.RESET, user), "password": "another horse 9"}
    assert api.post(f"{USERS}/password/reset/confirm", body).status_code == 204
    again = api.post(f"{USERS}/password/reset/confirm", {**body, "password": "a thief's horse 9"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (400, "invalid_link")
    user.refresh_from_db()
    assert user.check_password("another horse 9")


# --- Giving oneself more than one has ------------------------------------------------------------

_MORE: dict[str, object] = {
    "role": "admin",
    "active": False,
    "email_verified": True,
    "is_staff": True,
    "id": str(uuid4()),
    "version": 7,
    "erased_at": None,
    "password": "another horse 9",
}


@pytest.mark.parametrize("name", _MORE)
@pytest.mark.parametrize("form", ["json", "urlencoded"])
def test_a_profile_takes_nothing_that_is_not_the_owners(log_in: LogIn, name: str, form: str) -> None:
    client = log_in()
    before = User.objects.values().get()
    value = _MORE[name]
    if form == "json":
        response = client.patch(f"{USERS}/profile", {name: value})
        assert [error["code"] for error in response.json()["errors"]] == ["unknown_field"]
        names = {"username": client.user.username, "email": client.user.email}
        assert client.put(f"{USERS}/profile", {**names, name: value}).status_code == 400
    else:
        client.patch(f"{USERS}/profile", f"{name}={value}", content_type="application/x-www-form-urlencoded")
    assert User.objects.values().get() == before


@pytest.mark.parametrize("name", sorted(set(_MORE) - {"password"}))
@pytest.mark.parametrize("form", ["json", "urlencoded"])
def test_registering_takes_nothing_that_is_not_the_owners(api: APIClient, name: str, form: str) -> None:
    given = {"username": "eve", "email": "eve@example.com", "password": PASSWORD}
    if form == "json":
        assert api.post(f"{USERS}/register", {**given, name: _MORE[name]}).status_code == 400
        assert not User.objects.exists()
        return
    body = f"username=eve&email=eve@example.com&password={PASSWORD.replace(' ', '+')}&{name}={_MORE[name]}"
    api.post(f"{USERS}/register", body, content_type="application/x-www-form-urlencoded")
    eve = User.objects.get()
    assert (eve.role, eve.active, eve.email_verified, eve.version, eve.erased_at) == (Role.USER, True, False, 1, None)
    assert str(eve.pk) != _MORE["id"]


def test_no_admin_changes_their_own_role_over_rest(log_in: LogIn) -> None:
    log_in(Role.ADMIN)
    admin = log_in(Role.ADMIN)
    for change in ({"role": "user"}, {"active": False}, {"role": "admin"}):
        response = admin.patch(f"{USERS}/{admin.user.pk}", change)
        assert (response.status_code, response.json()["errors"][0]["code"]) == (409, "own_role")
    assert not AccessChange.objects.exists()
    for role in (Role.CATALOG_STAFF, Role.ORDER_STAFF, Role.USER):
        clerk = log_in(role)
        assert clerk.patch(f"{USERS}/{clerk.user.pk}", {"role": "admin"}).status_code == 403
        assert User.objects.get(pk=clerk.user.pk).role == role


@pytest.mark.django_db(transaction=True)
def test_nobody_changes_their_own_role_over_grpc() -> None:
    with serving(hosted(services.users())) as address, channel_to(address) as channel:
        stub = UserServiceStub(channel)
        admin_id, token = person(Role.ADMIN)
        request = pb.ManageUserRequest(actor_id=str(admin_id), user_id=str(admin_id), role="user")
        error = refusal(lambda: stub.ManageUser(request, metadata=bearer(token)))
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED
        error = refusal(lambda: stub.ManageUser(request, metadata=bearer(token_for())))
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert User.objects.get(pk=admin_id).role == Role.ADMIN
    assert [change.user_id for change in AccessChange.objects.filter(actor_id=admin_id)] == []


@pytest.mark.parametrize("field", ["role", "active"])
def test_no_admin_changes_their_own_role_on_the_staff_pages(client: Browser, field: str) -> None:
    admin = UserFactory(role=Role.ADMIN)
    UserFactory(role=Role.ADMIN)
    client.force_login(admin)
    names = ("username", "email", "first_name", "last_name", "phone", "address", "role")
    below = {
        f"{prefix}-{count}": 0
        for prefix in ("sessions", "activities", "access_changes")
        for count in ("TOTAL_FORMS", "INITIAL_FORMS")
    }
    given = {**{name: getattr(admin, name) for name in names}, **below, "active": "on", "last_name": "New"}
    given[field] = {"role": "user", "active": ""}[field]
    assert client.post(f"/admin/users/user/{admin.pk}/change/", given).status_code == 302
    admin.refresh_from_db()
    assert (admin.role, admin.active, admin.last_name) == (Role.ADMIN, True, "New")
    assert not AccessChange.objects.exists()


# --- Browsers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/admin/login/", "/api/auth/login/"])
def test_a_session_that_somebody_else_has_set_is_not_taken_over(client: Browser, page: str) -> None:
    user = UserFactory(role=Role.ADMIN)
    session = client.session
    session["planted"] = "yes"
    session.save()
    planted = session.session_key
    response = client.post(page, {"username": user.email, "password": PASSWORD, "next": "/"})
    assert response.status_code == 302
    assert client.cookies["sessionid"].value != planted
    thief = Browser()
    thief.cookies["sessionid"] = str(planted)
    assert thief.get("/admin/").status_code == 302
    assert thief.get(f"{USERS}/profile").status_code in (401, 403)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("patch", "/profile", {"first_name": "Eve"}),
        ("delete", "/profile", {"password": PASSWORD}),
        ("post", "/password/change", {"old_password": PASSWORD, "new_password": "another horse 9"}),
        ("post", "/email/verify/request", {}),
        ("delete", "/sessions", {}),
        ("post", "/logout", {}),
    ],
)
def test_a_cookie_alone_changes_nothing(method: str, path: str, body: dict[str, str]) -> None:
    user = UserFactory(role=Role.ADMIN)
    UserFactory(role=Role.ADMIN)
    api = APIClient(enforce_csrf_checks=True)
    api.login(username=user.email, password=PASSWORD)
    before = (User.objects.values().get(pk=user.pk), OutboxEvent.objects.count())
    response = getattr(api, method)(f"{USERS}{path}", body)
    assert (response.status_code, response.json()["errors"][0]["code"]) == (403, "permission_denied")
    assert (User.objects.values().get(pk=user.pk), OutboxEvent.objects.count()) == before
    assert api.get(f"{USERS}/profile").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "http:///evil.example",
        "javascript:alert(1)",
        "https:evil.example",
        " //evil.example",
        "/%0d%0aLocation:https://evil.example\r\nX: y",
    ],
)
@pytest.mark.parametrize("page", ["/admin/login/", "/api/auth/login/"])
def test_logging_in_leads_nowhere_else(client: Browser, page: str, address: str) -> None:
    user = UserFactory(role=Role.ADMIN)
    given = {"username": user.email, "password": PASSWORD}
    for response in (
        client.post(page, {**given, "next": address}),
        Browser().post(page, given, query_params={"next": address}),
    ):
        assert response.status_code == 302
        assert response["Location"].startswith("/")
        assert "evil" not in response["Location"].partition("%0d%0a")[0].lstrip("/").partition("/")[0]
        assert not response["Location"].startswith(("//", "/\\"))
