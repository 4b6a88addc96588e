"""The staff pages of accounts and sessions."""

from collections.abc import Callable

import pytest
from django.contrib.auth import authenticate
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from apps.events.models import OutboxEvent
from apps.users.interface import Client, InvalidToken, Profile, Role
from apps.users.models import Activity, Session, User
from apps.users.tests.factories import PASSWORD, UserFactory
from config import services

pytestmark = pytest.mark.django_db

PAGES = "/admin/users"
StaffOf = Callable[[Role], Browser]


@pytest.fixture
def staff(client: Browser) -> StaffOf:
    def log_in(role: Role) -> Browser:
        client.force_login(UserFactory(role=role))
        return client

    return log_in


def _form(user: User, **changes: object) -> dict[str, object]:
    names = ("username", "email", "first_name", "last_name", "phone", "address", "role")
    return {**{name: getattr(user, name) for name in names}, "active": "on", **changes}


def _events() -> list[str]:
    return list(OutboxEvent.objects.order_by("id").values_list("type", flat=True))


@pytest.mark.parametrize("login", ["known", "KNOWN@example.com"])
def test_staff_log_in_by_username_or_address(client: Browser, login: str) -> None:
    UserFactory(username="Known", email="known@example.com", role=Role.ADMIN)
    response = client.post("/admin/login/", {"username": login, "password": PASSWORD, "next": "/admin/"})
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize(
    ("fields", "password"),
    [({"active": False}, PASSWORD), ({}, "wrong"), ({"role": Role.USER}, PASSWORD)],
)
def test_who_may_not_log_in(client: Browser, fields: dict[str, object], password: str) -> None:
    user = UserFactory(**{"role": Role.ADMIN, **fields})
    assert client.post("/admin/login/", {"username": user.email, "password": password}).status_code == 200
    assert client.get("/admin/").status_code == 302


def test_a_deactivated_log_in_ends(staff: StaffOf) -> None:
    browser = staff(Role.ADMIN)
    User.objects.update(active=False)
    assert browser.get("/admin/").status_code == 302


def test_the_backend_wants_both() -> None:
    assert authenticate(username="somebody") is None
    assert authenticate(username="somebody", password=None) is None


@pytest.mark.parametrize("page", ["user", "session", "activity"])
def test_pages_are_for_admins(staff: StaffOf, page: str) -> None:
    assert staff(Role.ORDER_STAFF).get(f"{PAGES}/{page}/").status_code == 403
    assert staff(Role.CATALOG_STAFF).get(f"{PAGES}/{page}/").status_code == 403
    assert staff(Role.ADMIN).get(f"{PAGES}/{page}/?q=x").status_code == 200


def test_lists_cost_no_query_per_row(staff: StaffOf, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    browser = staff(Role.ADMIN)
    for _ in range(5):
        user = UserFactory()
        Session.objects.create(user=user, expires_at=timezone.now())
        Activity.objects.create(user=user, action="user.logged_in")
    browser.get(f"{PAGES}/user/")
    for page, queries in [("user", 3), ("session", 3), ("activity", 4)]:
        with django_assert_num_queries(queries):
            assert browser.get(f"{PAGES}/{page}/").status_code == 200


def test_add_a_user(staff: StaffOf) -> None:
    given = {
        "username": "Clerk",
        "email": "clerk@example.com",
        "role": "catalog_staff",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    browser = staff(Role.ADMIN)
    assert browser.get(f"{PAGES}/user/add/").status_code == 200
    response = browser.post(f"{PAGES}/user/add/", given)
    user = User.objects.get(username="Clerk")
    assert (response.status_code, response["Location"]) == (302, f"{PAGES}/user/{user.pk}/change/")
    assert (user.role, user.active, user.check_password(PASSWORD)) == (Role.CATALOG_STAFF, True, True)
    assert _events() == ["user.registered", "user.updated"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"username": "TAKEN"}, "Another account has this username."),
        ({"email": "Taken@example.com"}, "Another account has this email."),
        ({"username": "a@b"}, "A username has no @ and no invisible characters."),
        ({"password1": "short", "password2": "short"}, "This password is too short."),
    ],
)
def test_refused_users(staff: StaffOf, changes: dict[str, str], message: str) -> None:
    UserFactory(username="taken", email="taken@example.com")
    given = {"username": "clerk", "email": "clerk@example.com", "role": "user"}
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    response = staff(Role.ADMIN).post(f"{PAGES}/user/add/", {**given, **passwords, **changes})
    assert response.status_code == 200
    assert message in response.content.decode()
    assert _events() == []


def test_a_change_goes_through_the_service(
    staff: StaffOf, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    user = UserFactory()
    pair = services.users().log_in(login=user.email, password=PASSWORD, client=Client("", ""))
    browser = staff(Role.ADMIN)
    page = f"{PAGES}/user/{user.pk}/change/"
    assert browser.get(page).status_code == 200
    assert browser.post(page, _form(user)).status_code == 302
    assert _events() == []
    assert browser.post(page, _form(user, first_name="New")).status_code == 302
    assert _events() == ["user.updated"]
    services.users().authenticate(access_token=pair.access)
    with django_capture_on_commit_callbacks(execute=True):
        assert browser.post(page, _form(user, first_name="New", role="order_staff")).status_code == 302
    assert _events() == ["user.updated", "user.updated"]
    assert services.users().get_user(user_id=user.pk).role == Role.ORDER_STAFF
    with pytest.raises(InvalidToken):
        services.users().authenticate(access_token=pair.access)


def test_admins_keep_their_own_role(staff: StaffOf) -> None:
    browser = staff(Role.ADMIN)
    admin = User.objects.get()
    response = browser.post(f"{PAGES}/user/{admin.pk}/change/", _form(admin, role="user", last_name="New"))
    assert response.status_code == 302
    admin.refresh_from_db()
    assert (admin.role, admin.active, admin.last_name) == (Role.ADMIN, True, "New")


def test_users_are_not_deleted(staff: StaffOf) -> None:
    user = UserFactory()
    assert staff(Role.ADMIN).post(f"{PAGES}/user/{user.pk}/delete/", {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=user.pk).exists()


def test_set_a_password(staff: StaffOf, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> None:
    user = UserFactory()
    pair = services.users().log_in(login=user.email, password=PASSWORD, client=Client("", ""))
    browser = staff(Role.ADMIN)
    page = f"{PAGES}/user/{user.pk}/password/"
    assert browser.get(page).status_code == 200
    given = {"password1": "another horse 8", "password2": "another horse 8", "usable_password": "true"}
    with django_capture_on_commit_callbacks(execute=True):
        assert browser.post(page, given).status_code == 302
    services.users().log_in(login=user.email, password="another horse 8", client=Client("", ""))
    with pytest.raises(InvalidToken):
        services.users().authenticate(access_token=pair.access)


def test_end_sessions(staff: StaffOf, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> None:
    user = UserFactory()
    pairs = [services.users().log_in(login=user.email, password=PASSWORD, client=Client("", "")) for _ in range(2)]
    browser = staff(Role.ADMIN)
    chosen = [str(session.pk) for session in Session.objects.all()]
    given = {"action": "revoke", "_selected_action": chosen}
    for sentence in ("2 sessions ended.", "0 sessions ended."):
        with django_capture_on_commit_callbacks(execute=True):
            response = browser.post(f"{PAGES}/session/", given, follow=True)
        assert sentence in response.content.decode()
    for pair in pairs:
        with pytest.raises(InvalidToken):
            services.users().authenticate(access_token=pair.access)
    assert browser.get(f"{PAGES}/session/{chosen[0]}/change/").status_code == 200


def test_history_is_read_only(staff: StaffOf) -> None:
    services.users().register(username="testuser", email="t@example.com", password=PASSWORD, profile=Profile())
    line = Activity.objects.create(user=User.objects.get(), action="user.registered")
    browser = staff(Role.ADMIN)
    assert browser.get(f"{PAGES}/activity/{line.pk}/change/").status_code == 200
    assert browser.post(f"{PAGES}/activity/{line.pk}/change/", {"action": "x"}).status_code == 403
    assert browser.get(f"{PAGES}/activity/add/").status_code == 403
    assert browser.get(f"{PAGES}/session/add/").status_code == 403
