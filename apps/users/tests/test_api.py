"""The users service over REST."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import Client as Browser
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks
from rest_framework.test import APIClient

from apps.events.models import OutboxEvent
from apps.users import tokens
from apps.users.interface import Role
from apps.users.models import Activity, Session, User
from apps.users.tests.factories import PASSWORD, UserFactory
from tests.flow import SESSION

pytestmark = pytest.mark.django_db

LogIn = Callable[..., Any]
USERS = "/api/v1/users"
NOBODY = UUID("019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d10")
REGISTRATION = {"username": "testuser", "email": "test@example.com", "password": "password123"}
FIELDS = {
    "id",
    "username",
    "email",
    "first_name",
    "last_name",
    "phone",
    "address",
    "role",
    "active",
    "email_verified",
    "created_at",
    "updated_at",
}


def _errors(response: Any) -> list[tuple[str, str | None]]:  # noqa: ANN401 - the test client's answer
    return [(error["code"], error["attr"]) for error in response.json()["errors"]]


def _log_in(api: APIClient, **body: str) -> Any:  # noqa: ANN401 - JSON
    return api.post(f"{USERS}/login", body)


# --- Registering ---------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [USERS, f"{USERS}/register"])
def test_register(api: APIClient, address: str, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(4):  # the user and the event, between SAVEPOINT and RELEASE
        response = api.post(address, {**REGISTRATION, "first_name": "Test"})
    assert response.status_code == 201
    body = response.json()
    assert set(body) == FIELDS
    user = User.objects.get()
    assert body == {
        "id": str(user.pk),
        "username": "testuser",
        "email": "test@example.com",
        "first_name": "Test",
        "last_name": "",
        "phone": "",
        "address": "",
        "role": "user",
        "active": True,
        "email_verified": False,
        "created_at": body["created_at"],
        "updated_at": body["updated_at"],
    }
    assert body["created_at"].endswith("Z")
    assert OutboxEvent.objects.get().type == "user.registered"


BAD_REGISTRATIONS: dict[str, tuple[dict[str, Any], list[tuple[str, str | None]]]] = {
    "role": ({"role": "admin"}, [("unknown_field", "role")]),
    "active": ({"active": True}, [("unknown_field", "active")]),
    "verified": ({"email_verified": True}, [("unknown_field", "email_verified")]),
    "unknown": ({"usrname": "x"}, [("unknown_field", "usrname")]),
    "null": ({"username": None}, [("null", "username")]),
    "list": ({"username": ["x"]}, [("invalid", "username")]),
    "object": ({"password": {"a": 1}}, [("invalid", "password")]),
    "boolean": ({"first_name": True}, [("invalid", "first_name")]),
    "blank": ({"username": " "}, [("blank", "username")]),
    "NUL": ({"address": "a\0b"}, [("control_characters", "address")]),
    "control": ({"first_name": "a\x07"}, [("control_characters", "first_name")]),
    "line break": ({"phone": "1\n2"}, [("control_characters", "phone")]),
    "password with NUL": ({"password": "pass\0word"}, [("null_characters_not_allowed", "password")]),
    "@ in username": ({"username": "a@b"}, [("invalid_username", "username")]),
    "long username": ({"username": "x" * 151}, [("max_length", "username")]),
    "long first name": ({"first_name": "x" * 151}, [("max_length", "first_name")]),
    "long last name": ({"last_name": "x" * 151}, [("max_length", "last_name")]),
    "long phone": ({"phone": "1" * 33}, [("max_length", "phone")]),
    "long address": ({"address": "x" * 501}, [("max_length", "address")]),
    "long password": ({"password": "x" * 129}, [("max_length", "password")]),
    "no address": ({"email": "testuser"}, [("invalid", "email")]),
    "weak": ({"password": "TESTuser"}, [("weak_password", "password")]),
    "two problems": ({"email": "x", "username": ""}, [("blank", "username"), ("invalid", "email")]),
}


@pytest.mark.parametrize(("changes", "expected"), BAD_REGISTRATIONS.values(), ids=BAD_REGISTRATIONS)
def test_bad_registrations(api: APIClient, changes: dict[str, Any], expected: list[tuple[str, str | None]]) -> None:
    response = api.post(f"{USERS}/register", {**REGISTRATION, **changes})
    assert response.status_code == 400
    assert response.json()["type"] == "validation_error"
    assert _errors(response) == expected
    assert not User.objects.exists()
    assert not OutboxEvent.objects.exists()


@pytest.mark.parametrize("name", ["register", "login", "token/refresh"])
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "required"),
        (b"{", "parse_error"),
        (b"\xff", "parse_error"),
        (b'{"password": "\\ud800"}', "parse_error"),
        (b'{"password": NaN}', "parse_error"),
        (b"[]", "invalid"),
        (b"null", "null"),
        (b'"text"', "invalid"),
    ],
)
def test_bodies_that_are_no_object(api: APIClient, name: str, content: bytes, code: str) -> None:
    response = api.post(f"{USERS}/{name}", content, content_type="application/json")
    assert response.status_code == 400
    assert code in {found for found, _ in _errors(response)}


def test_names_that_are_taken(api: APIClient) -> None:
    api.post(f"{USERS}/register", REGISTRATION)
    response = api.post(f"{USERS}/register", {**REGISTRATION, "username": "other", "email": "TEST@example.com"})
    assert (response.status_code, _errors(response)) == (409, [("email_taken", "email")])
    response = api.post(f"{USERS}/register", {**REGISTRATION, "username": "TESTUSER", "email": "o@example.com"})
    assert (response.status_code, _errors(response)) == (409, [("username_taken", "username")])
    assert User.objects.count() == 1


# --- Sessions ------------------------------------------------------------------------------------


def test_login(api: APIClient, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    user = UserFactory()
    # find, failures; SAVEPOINT, lock, second factor, failures, session, activity, RELEASE
    with django_assert_num_queries(9):
        response = _log_in(api, email=user.email, password=PASSWORD)
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"access", "refresh", "token_type", "expires_in", "user"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    assert set(body["user"]) == FIELDS
    assert tokens.read_access(body["access"]).id == user.pk
    assert Session.objects.get().address == "127.0.0.1"
    assert _log_in(api, username=user.username, password=PASSWORD).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ({"email": "known@example.com", "password": "wrong"}, 401, [("wrong_credentials", None)]),
        ({"email": "unknown@example.com", "password": PASSWORD}, 401, [("wrong_credentials", None)]),
        ({"username": "inactive", "password": PASSWORD}, 401, [("wrong_credentials", None)]),
        ({"password": PASSWORD}, 400, [("invalid", None)]),
        ({"email": "known@example.com", "username": "known", "password": PASSWORD}, 400, [("invalid", None)]),
        ({"email": "known@example.com"}, 400, [("required", "password")]),
        ({"email": ["known@example.com"], "password": PASSWORD}, 400, [("invalid", "email")]),
        ({"email": "x" * 255, "password": PASSWORD}, 400, [("max_length", "email")]),
        ({"email": "known@example.com", "password": "x" * 129}, 400, [("max_length", "password")]),
        ({"email": "known@example.com", "password": PASSWORD, "code": "1"}, 400, [("unknown_field", "code")]),
    ],
)
def test_bad_logins(api: APIClient, body: dict[str, Any], status: int, expected: list[tuple[str, str | None]]) -> None:
    UserFactory(username="known", email="known@example.com")
    UserFactory(username="inactive", active=False)
    response = api.post(f"{USERS}/login", body)
    assert response.status_code == status
    assert _errors(response) == [
        (code, attr or ("non_field_errors" if status == 400 else None)) for code, attr in expected
    ]
    assert not Session.objects.exists()
    if status == 401:
        assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_stale_token_does_not_keep_anybody_from_logging_in(api: APIClient) -> None:
    user = UserFactory()
    api.credentials(HTTP_AUTHORIZATION="Bearer stale")
    assert _log_in(api, email=user.email, password=PASSWORD).status_code == 200
    assert api.post(USERS, REGISTRATION).status_code == 201


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "not_authenticated"),
        ("Basic dXNlcjpwYXNz", "not_authenticated"),
        ("Bearer", "invalid_token"),
        ("Bearer a b", "invalid_token"),
        ("bearer x.y.z", "invalid_token"),
        ("Bearer \xe9", "invalid_token"),
        (f"Bearer {'x' * 100_000}", "invalid_token"),
    ],
)
def test_bad_authorization_headers(api: APIClient, header: str | None, code: str) -> None:
    if header is not None:
        api.credentials(HTTP_AUTHORIZATION=header)
    for accept in ("application/json", "text/html"):
        response = api.get(f"{USERS}/profile", HTTP_ACCEPT=accept)
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == 'Bearer realm="api"'
    assert _errors(api.get(f"{USERS}/profile")) == [(code, None)]


def test_refresh(api: APIClient, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    first = _log_in(api, email=UserFactory().email, password=PASSWORD).json()
    with django_assert_num_queries(4):  # rotate and read, between SAVEPOINT and RELEASE
        response = api.post(f"{USERS}/token/refresh", {"refresh": first["refresh"]})
    assert response.status_code == 200
    second = response.json()
    assert set(second) == {"access", "refresh", "token_type", "expires_in", "user"}
    assert second["refresh"] != first["refresh"]
    for spent in (first["refresh"], second["refresh"]):  # the first one, used twice, has ended the session
        response = api.post(f"{USERS}/token/refresh", {"refresh": spent})
        assert (response.status_code, _errors(response)) == (401, [("invalid_token", None)])


@pytest.mark.parametrize("refresh", ["x", "a.b.c", "\xe9"])
def test_bad_refresh_tokens(api: APIClient, refresh: str) -> None:
    response = api.post(f"{USERS}/token/refresh", {"refresh": refresh})
    assert (response.status_code, _errors(response)) == (401, [("invalid_token", None)])


@pytest.mark.parametrize("method", ["delete", "post"])
def test_logout(
    log_in: LogIn,
    method: str,
    django_assert_num_queries: DjangoAssertNumQueries,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    client = log_in()
    assert client.get(f"{USERS}/profile").status_code == 200
    with django_capture_on_commit_callbacks(execute=True), django_assert_num_queries(SESSION + 4):
        response = getattr(client, method)(f"{USERS}/logout")
    assert (response.status_code, response.content) == (204, b"")
    response = client.get(f"{USERS}/profile")
    assert (response.status_code, _errors(response)) == (401, [("invalid_token", None)])


def test_sessions(log_in: LogIn, api: APIClient, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = log_in()
    api.credentials(HTTP_USER_AGENT="Phone")
    _log_in(api, email=client.user.email, password=PASSWORD)
    with django_assert_num_queries(SESSION + 1):
        response = client.get(f"{USERS}/sessions")
    assert [(session["agent"], session["current"]) for session in response.json()] == [("Phone", False), ("", True)]
    assert set(response.json()[0]) == {
        "id",
        "address",
        "agent",
        "created_at",
        "last_used_at",
        "expires_at",
        "device",
        "current",
    }
    with django_assert_num_queries(SESSION + 4):
        assert client.delete(f"{USERS}/sessions/{response.json()[0]['id']}").status_code == 204
    assert [session["current"] for session in client.get(f"{USERS}/sessions").json()] == [True]


def test_anothers_session_is_not_found(log_in: LogIn) -> None:
    client, other = log_in(), log_in()
    session = Session.objects.get(user=other.user)
    for session_id in (session.pk, NOBODY):
        response = client.delete(f"{USERS}/sessions/{session_id}")
        assert (response.status_code, _errors(response)) == (404, [("session_not_found", None)])
    assert Session.objects.get(pk=session.pk).revoked_at is None


# --- One's own account ---------------------------------------------------------------------------


def test_profile(log_in: LogIn, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = log_in(username="me", first_name="First", phone="1")
    with django_assert_num_queries(SESSION + 1):
        body = client.get(f"{USERS}/profile").json()
    assert set(body) == FIELDS
    with django_assert_num_queries(SESSION + 5):  # lock, save and event, between SAVEPOINT and RELEASE
        response = client.patch(f"{USERS}/profile", {"last_name": "Last"})
    assert response.status_code == 200
    assert response.json() == {**body, "last_name": "Last", "updated_at": response.json()["updated_at"]}
    response = client.put(f"{USERS}/profile", {"username": "me2", "email": "me@example.com", "address": "A\nB"})
    assert response.json() == {
        **body,
        "username": "me2",
        "email": "me@example.com",
        "first_name": "",
        "last_name": "",
        "phone": "",
        "address": "A\nB",
        "updated_at": response.json()["updated_at"],
    }


@pytest.mark.parametrize(
    ("method", "body", "status", "expected"),
    [
        ("put", {"first_name": "x"}, 400, [("required", "username"), ("required", "email")]),
        ("patch", {"role": "admin"}, 400, [("unknown_field", "role")]),
        ("patch", {"active": False}, 400, [("unknown_field", "active")]),
        ("patch", {"email_verified": True}, 400, [("unknown_field", "email_verified")]),
        ("patch", {"password": "another horse 8"}, 400, [("unknown_field", "password")]),
        ("patch", {"id": str(NOBODY)}, 400, [("unknown_field", "id")]),
        ("patch", {"username": ""}, 400, [("blank", "username")]),
        ("patch", {"email": "x"}, 400, [("invalid", "email")]),
        ("patch", {"email": "TAKEN@example.com"}, 409, [("email_taken", "email")]),
    ],
)
def test_refused_profiles(
    log_in: LogIn, method: str, body: dict[str, Any], status: int, expected: list[tuple[str, str]]
) -> None:
    UserFactory(email="taken@example.com")
    client = log_in()
    before = client.get(f"{USERS}/profile").json()
    response = getattr(client, method)(f"{USERS}/profile", body)
    assert (response.status_code, _errors(response)) == (status, expected)
    assert client.get(f"{USERS}/profile").json() == before
    assert not OutboxEvent.objects.exists()


def test_password_change(log_in: LogIn, api: APIClient, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = log_in()
    _log_in(api, email=client.user.email, password=PASSWORD)
    # read, failures; SAVEPOINT, lock, save, end the sessions (2), activity, RELEASE
    with django_assert_num_queries(SESSION + 9):
        response = client.post(
            f"{USERS}/password/change", {"old_password": PASSWORD, "new_password": "another horse 8"}
        )
    assert (response.status_code, response.content) == (204, b"")
    assert _log_in(api, email=client.user.email, password=PASSWORD).status_code == 401
    assert _log_in(api, email=client.user.email, password="another horse 8").status_code == 200


@pytest.mark.parametrize(
    ("old", "new", "status", "expected"),
    [
        ("wrong", "another horse 8", 401, [("wrong_credentials", "old_password")]),
        (PASSWORD, "short", 400, [("weak_password", "password")]),
        (PASSWORD, "x" * 129, 400, [("max_length", "new_password")]),
        (PASSWORD, None, 400, [("null", "new_password")]),
    ],
)
def test_refused_password_changes(
    log_in: LogIn, old: str, new: str | None, status: int, expected: list[tuple[str, str]]
) -> None:
    client = log_in()
    hashed = client.user.password
    response = client.post(f"{USERS}/password/change", {"old_password": old, "new_password": new})
    assert (response.status_code, _errors(response)) == (status, expected)
    assert User.objects.get().password == hashed


def test_activity(log_in: LogIn, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client, stranger = log_in(), log_in()
    for number in range(3):
        Activity.objects.create(user=client.user, action="order.created", details=f"Order {number}.")
    with django_assert_num_queries(SESSION + 1):
        body = client.get(f"{USERS}/activity?page_size=3").json()
    assert set(body) == {"next", "previous", "results"}
    assert [line["details"] for line in body["results"]] == ["Order 2.", "Order 1.", "Order 0."]
    assert set(body["results"][0]) == {"id", "action", "details", "happened_at"}
    assert [line["action"] for line in client.get(body["next"]).json()["results"]] == ["user.logged_in"]

    assert stranger.get(f"{USERS}/activity?user={client.user.pk}").status_code == 403
    assert stranger.get(f"{USERS}/activity?user={stranger.user.pk}").status_code == 200
    for role in (Role.CATALOG_STAFF, Role.ORDER_STAFF, Role.ADMIN):
        staff = log_in(role)
        assert len(staff.get(f"{USERS}/activity?user={client.user.pk}").json()["results"]) == 4
        assert staff.get(f"{USERS}/activity?user=me").status_code == 400
    assert client.get(f"{USERS}/activity?cursor=x").status_code == 404


# --- Others' accounts ----------------------------------------------------------------------------


def test_read_an_account(log_in: LogIn, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client, stranger = log_in(), log_in()
    with django_assert_num_queries(SESSION + 1):
        assert client.get(f"{USERS}/{client.user.pk}").json()["id"] == str(client.user.pk)
    for user_id in (client.user.pk, NOBODY):
        response = stranger.get(f"{USERS}/{user_id}")
        assert (response.status_code, _errors(response)) == (404, [("user_not_found", None)])
    for role in (Role.CATALOG_STAFF, Role.ORDER_STAFF, Role.ADMIN):
        staff = log_in(role)
        assert staff.get(f"{USERS}/{client.user.pk}").status_code == 200
        assert staff.get(f"{USERS}/{NOBODY}").status_code == 404


def test_list_accounts(log_in: LogIn, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    admin = log_in(Role.ADMIN, username="zoe", email="zoe@example.com")
    UserFactory(username="Anna", email="anna@example.com", last_name="Müller", active=False)
    UserFactory(username="bob", email="bob@example.org", role=Role.ORDER_STAFF)

    def names(query: str) -> list[str]:
        return [user["username"] for user in admin.get(f"{USERS}?{query}").json()["results"]]

    with django_assert_num_queries(SESSION + 2):
        body = admin.get(f"{USERS}?page_size=2").json()
    assert (body["count"], body["previous"]) == (3, None)
    assert [user["username"] for user in body["results"]] == ["bob", "Anna"]
    assert set(body["results"][0]) == FIELDS
    assert names("page=2&page_size=2") == ["zoe"]
    assert names("ordering=username") == ["Anna", "bob", "zoe"]
    assert names("ordering=-email") == ["zoe", "bob", "Anna"]
    assert names("ordering=created_at") == ["zoe", "Anna", "bob"]
    assert names("role=order_staff") == ["bob"]
    assert names("active=false") == ["Anna"]
    assert names("active=true&ordering=username") == ["bob", "zoe"]
    assert names("search=ANN") == ["Anna"]
    assert names("search=example.org") == ["bob"]
    assert names("search=Müller") == ["Anna"]
    for query in ("role=root", "active=maybe", "ordering=password", f"search={'x' * 255}"):
        assert admin.get(f"{USERS}?{query}").status_code == 400
    assert admin.get(f"{USERS}?page=9").status_code == 404


def test_only_admins_list_and_manage(log_in: LogIn, api: APIClient) -> None:
    assert api.get(USERS).status_code == 401
    target = UserFactory()
    for role in (Role.USER, Role.CATALOG_STAFF, Role.ORDER_STAFF):
        client = log_in(role)
        assert client.get(USERS).status_code == 403
        assert client.patch(f"{USERS}/{target.pk}", {"role": "admin"}).status_code == 403
        assert client.patch(f"{USERS}/{client.user.pk}", {"role": "admin"}).status_code == 403
    assert User.objects.filter(role=Role.ADMIN).count() == 0


def test_manage(log_in: LogIn, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    admin, target = log_in(Role.ADMIN), log_in().user
    # Lock, end the sessions (2), save and event, between SAVEPOINT and RELEASE.
    with django_assert_num_queries(SESSION + 9):
        response = admin.patch(f"{USERS}/{target.pk}", {"role": "order_staff", "active": False})
    assert response.status_code == 200
    assert (response.json()["role"], response.json()["active"]) == ("order_staff", False)
    assert OutboxEvent.objects.get().type == "user.deactivated"


def test_a_form_that_names_the_role_only_does_not_deactivate(log_in: LogIn) -> None:
    target = UserFactory()
    response = log_in(Role.ADMIN).patch(
        f"{USERS}/{target.pk}", "role=order_staff", content_type="application/x-www-form-urlencoded"
    )
    assert (response.json()["role"], response.json()["active"]) == ("order_staff", True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"role": "root"}, [("invalid_choice", "role")]),
        ({"role": None}, [("null", "role")]),
        ({"active": "maybe"}, [("invalid", "active")]),
        ({"active": None}, [("null", "active")]),
        ({"username": "x"}, [("unknown_field", "username")]),
    ],
)
def test_bad_management(log_in: LogIn, body: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    target = UserFactory()
    response = log_in(Role.ADMIN).patch(f"{USERS}/{target.pk}", body)
    assert (response.status_code, _errors(response)) == (400, expected)
    assert not OutboxEvent.objects.exists()


def test_nobody_manages_themselves(log_in: LogIn) -> None:
    admin = log_in(Role.ADMIN)
    response = admin.patch(f"{USERS}/{admin.user.pk}", {"role": "user"})
    assert (response.status_code, _errors(response)) == (409, [("own_role", None)])
    assert admin.patch(f"{USERS}/{NOBODY}", {"role": "user"}).status_code == 404


# --- Around it -----------------------------------------------------------------------------------


def test_the_public_keys(api: APIClient, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        response = api.get("/.well-known/jwks.json", HTTP_AUTHORIZATION="Bearer stale")
    assert response.status_code == 200
    assert response.json() == tokens.jwks()
    assert response["Cache-Control"] == "public, max-age=300"
    assert response["Content-Type"] == "application/json"


def test_a_log_in_to_the_staff_pages_works_too(client: Browser) -> None:
    staff = UserFactory(role=Role.ORDER_STAFF)
    client.force_login(staff)
    assert client.get(f"{USERS}/profile").json()["id"] == str(staff.pk)
    assert client.get(f"{USERS}/{UserFactory().pk}").status_code == 200
    assert client.get(f"{USERS}/sessions").json() == []
    assert client.post(f"{USERS}/logout").status_code == 204
    assert client.get(f"{USERS}/profile").status_code == 401


def test_the_openapi_document_says_who_may_call(api: APIClient) -> None:
    paths = api.get("/api/schema/?format=json").json()["paths"]
    assert paths[USERS]["post"]["security"] == paths[f"{USERS}/login"]["post"]["security"] == [{}]
    assert {"bearer": []} in paths[USERS]["get"]["security"]
    assert {"bearer": []} in paths[f"{USERS}/profile"]["put"]["security"]


def test_the_browsable_pages_render(log_in: LogIn) -> None:
    admin = log_in(Role.ADMIN)
    for name in ("", "/profile", "/sessions", "/activity", f"/{admin.user.pk}", "/password/change", "/login"):
        response = admin.get(f"{USERS}{name}", HTTP_ACCEPT="text/html")
        assert response.status_code in {200, 405}, name
        assert response["Content-Type"].startswith("text/html")
