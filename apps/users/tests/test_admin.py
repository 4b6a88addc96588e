"""The staff pages of accounts and sessions."""

import re
from collections.abc import Callable

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth import authenticate
from django.db import transaction
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks, Settings

from apps.common.databases import alias_of
from apps.common.ids import new_id
from apps.events.models import OutboxEvent
from apps.users import guard, second_factor
from apps.users.interface import Client, InvalidToken, Profile, Role
from apps.users.models import Activity, SecondFactor, Session, User
from apps.users.staff_forms import SetPasswordForm
from apps.users.tests.factories import PASSWORD, UserFactory, code_of, turn_on
from config import services
from tests.flow import sends

pytestmark = pytest.mark.django_db

PAGES = "/admin/users"
NEW_PASSWORD = "another horse 8"
PAGE_COST = 9
StaffOf = Callable[[Role], Browser]


@pytest.fixture
def staff(client: Browser) -> StaffOf:
    def log_in(role: Role) -> Browser:
        client.force_login(UserFactory(role=role))
        return client

    return log_in


def _form(user: User, **changes: object) -> dict[str, object]:
    names = ("username", "email", "first_name", "last_name", "phone", "address", "role")
    below = {
        f"{prefix}-{count}": 0
        for prefix in ("sessions", "activities", "access_changes")
        for count in ("TOTAL_FORMS", "INITIAL_FORMS")
    }
    return {**{name: getattr(user, name) for name in names}, **below, "active": "on", **changes}


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
    for page, queries in [("user", 2), ("session", 2), ("activity", 3), ("accesschange", 2)]:
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
        ({"email": "Taken@example.com"}, "Another account has this e-mail address."),
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
    log = " ".join(LogEntry.objects.values_list("change_message", flat=True))
    assert "order_staff" in log
    assert "New" not in log  # it outlives the account
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


def test_setting_a_password_changes_nothing_else(staff: StaffOf) -> None:
    """What was decided while the form was open stands."""
    user = UserFactory(role=Role.ORDER_STAFF)
    form = SetPasswordForm(User.objects.get(pk=user.pk), {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    assert form.is_valid(), form.errors
    services.users().manage_user(actor_id=UserFactory(role=Role.ADMIN).pk, user_id=user.pk, active=False)
    form.save()
    kept = User.objects.get(pk=user.pk)
    assert (kept.active, kept.check_password(NEW_PASSWORD)) == (False, True)
    assert Activity.objects.filter(user=user, action="user.password_set").count() == 1


def test_guesses_at_ones_own_password_are_counted(staff: StaffOf, settings: Settings) -> None:
    settings.LOCK_ACCOUNT_AFTER = 3
    browser = staff(Role.ORDER_STAFF)
    new = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    for _ in range(3):
        assert browser.post("/admin/password_change/", {"old_password": "guess", **new}).status_code == 200
    # Now the right one is refused as well.
    assert browser.post("/admin/password_change/", {"old_password": PASSWORD, **new}).status_code == 200
    assert User.objects.get().check_password(PASSWORD)
    guard.forget(User.objects.get().pk)
    assert browser.post("/admin/password_change/", {"old_password": PASSWORD, **new}).status_code == 302
    assert User.objects.get().check_password(NEW_PASSWORD)
    assert browser.get("/admin/").status_code == 200


def test_ending_all_sessions_ends_those_of_browsers(staff: StaffOf) -> None:
    browser = staff(Role.ORDER_STAFF)
    assert browser.get("/admin/").status_code == 200
    services.users().end_other_sessions(user_id=User.objects.get().pk, session_id=None)
    assert browser.get("/admin/").status_code == 302


def test_recovery_codes_outlive_another_secret_key(client: Browser, settings: Settings) -> None:
    user = UserFactory(role=Role.ADMIN)
    with time_machine.travel("2026-01-02T03:04:05Z", tick=False):
        codes = second_factor.confirm(user, code_of(second_factor.begin(user).secret))
    settings.SECRET_KEY = "another secret key of fifty characters and then some"
    given = {"username": user.email, "password": PASSWORD, "next": "/admin/"}
    assert client.post("/admin/login/", {**given, "otp": "123456"}).status_code == 200
    assert client.post("/admin/login/", {**given, "otp": codes[0]}).status_code == 302


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


# --- An account's page ---------------------------------------------------------------------------


def test_a_page_shows_sessions_activity_and_changes_of_access(staff: StaffOf) -> None:
    user = UserFactory()
    services.users().log_in(login=user.email, password=PASSWORD, client=Client("192.0.2.7", "curl/8"))
    services.users().manage_user(actor_id=new_id(), user_id=user.pk, role=Role.ORDER_STAFF)
    page = staff(Role.ADMIN).get(f"{PAGES}/user/{user.pk}/change/").content.decode()
    for text in ("192.0.2.7", "curl/8", "Logged in from 192.0.2.7.", "order_staff", "None lately.", "Off."):
        assert text in page


def test_a_page_costs_the_same_for_any_number_of_rows(staff: StaffOf) -> None:
    user, browser = UserFactory(), staff(Role.ADMIN)
    browser.get(f"{PAGES}/user/{user.pk}/change/")
    for _ in range(2):
        for _ in range(12):
            Session.objects.create(user=user, expires_at=timezone.now())
            Activity.objects.create(user=user, action="user.logged_in")
        with sends(PAGE_COST):
            assert browser.get(f"{PAGES}/user/{user.pk}/change/").status_code == 200


def test_the_link_to_orders(staff: StaffOf) -> None:
    user, browser = UserFactory(), staff(Role.ADMIN)
    response = browser.get(_action(user, "show_orders"))
    assert (response.status_code, response["Location"]) == (302, f"/admin/orders/order/?q={user.pk}")
    assert browser.get(response["Location"]).status_code == 200


def _action(user: User, name: str) -> str:
    return reverse(f"admin:users_user_{name}", args=[user.pk])


def test_end_all_sessions_from_the_page(
    staff: StaffOf, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    user = UserFactory()
    pair = services.users().log_in(login=user.email, password=PASSWORD, client=Client("", ""))
    browser, address = staff(Role.ADMIN), _action(user, "end_sessions")
    assert "End all sessions?" in browser.get(address).content.decode()
    services.users().authenticate(access_token=pair.access)  # asking does nothing
    with django_capture_on_commit_callbacks(execute=True):
        response = browser.post(address, {"_form_submitted": "True"})
    assert response["HX-Redirect"] == f"{PAGES}/user/{user.pk}/change/"
    with pytest.raises(InvalidToken):
        services.users().authenticate(access_token=pair.access)
    assert "1 session was ended." in browser.get(response["HX-Redirect"]).content.decode()
    assert "Ended all sessions" in LogEntry.objects.get().change_message


def test_unlock_from_the_page(staff: StaffOf, settings: Settings) -> None:
    settings.LOCK_ACCOUNT_AFTER = 1
    user, browser = UserFactory(), staff(Role.ADMIN)
    browser_of_nobody = Browser()
    browser_of_nobody.post("/admin/login/", {"username": user.email, "password": "wrong"})
    page = f"{PAGES}/user/{user.pk}/change/"
    assert "1: the account is closed until" in browser.get(page).content.decode()
    browser.post(_action(user, "unlock"), {"_form_submitted": "True"})
    assert "None lately." in browser.get(page).content.decode()
    assert Activity.objects.get().action == "user.unlocked"


def test_turn_the_second_factor_of_somebody_off(staff: StaffOf) -> None:
    user, browser = UserFactory(role=Role.ORDER_STAFF), staff(Role.ADMIN)
    turn_on(user)
    page = f"{PAGES}/user/{user.pk}/change/"
    assert "On; 10 recovery codes are left." in browser.get(page).content.decode()
    browser.post(_action(user, "turn_second_factor_off"), {"_form_submitted": "True"})
    assert not SecondFactor.objects.exists()
    assert [line.action for line in Activity.objects.order_by("id")] == [
        "user.second_factor_on",
        "user.second_factor_off",
    ]


@pytest.mark.parametrize("name", ["end_sessions", "unlock", "turn_second_factor_off"])
def test_who_may_not_use_the_buttons(staff: StaffOf, name: str) -> None:
    user = UserFactory()
    codes = turn_on(user)
    services.users().log_in(login=user.email, password=PASSWORD, client=Client("", ""), otp=codes[0])
    before = (Activity.objects.count(), Session.objects.filter(revoked_at=None).count())
    given = {"_form_submitted": "True"}
    assert staff(Role.ORDER_STAFF).post(_action(user, name), given).status_code == 403
    protected = Browser(enforce_csrf_checks=True)
    protected.force_login(UserFactory(role=Role.ADMIN))
    assert protected.post(_action(user, name), given).status_code == 403
    assert (Activity.objects.count(), Session.objects.filter(revoked_at=None).count()) == before
    assert SecondFactor.objects.exists()


def test_an_erased_account_is_only_looked_at(staff: StaffOf) -> None:
    user = UserFactory(username="Lovelace")
    services.users().erase_user(user_id=user.pk, password=PASSWORD)
    browser = staff(Role.ADMIN)
    page = browser.get(f"{PAGES}/user/{user.pk}/change/").content.decode()
    assert "Lovelace" not in page
    assert browser.post(f"{PAGES}/user/{user.pk}/change/", _form(user, first_name="Ada")).status_code == 403
    assert browser.post(_action(user, "unlock"), {"_form_submitted": "True"}).status_code == 404


# --- The second factor ---------------------------------------------------------------------------

SECOND_FACTOR = "/admin/second-factor/"


def _secret(page: str) -> str:
    found = re.search(r"font-mono break-words[^>]*>([A-Z2-7 ]{32,})<", page)
    assert found
    return found[1].replace(" ", "")


@pytest.mark.parametrize("role", [Role.ADMIN, Role.ORDER_STAFF, Role.CATALOG_STAFF])
def test_the_whole_way_of_a_second_factor(client: Browser, role: Role) -> None:
    user = UserFactory(role=role)
    log_in = {"username": user.email, "password": PASSWORD, "next": "/admin/"}

    def enters(**more: str) -> bool:
        """Whether logging in leads on; it is left again."""
        led_on = client.post("/admin/login/", {**log_in, **more}).status_code == 302
        client.logout()
        return led_on

    with time_machine.travel("2026-01-02T03:04:05Z", tick=False):
        client.force_login(user)
        assert "The second factor is off" in client.get(SECOND_FACTOR).content.decode()
        assert not SecondFactor.objects.exists()
        page = client.post(SECOND_FACTOR, {"do": "begin"}).content.decode()
        assert "<svg" in page
        secret = _secret(page)
        assert secret not in SecondFactor.objects.get().secret
        wrong = client.post(SECOND_FACTOR, {"do": "confirm", "code": "000000"}).content.decode()
        assert "This is not the code" in wrong
        assert _secret(wrong) == secret
        assert enters()  # nothing is asked for yet
        client.force_login(user)
        done = client.post(SECOND_FACTOR, {"do": "confirm", "code": code_of(secret)}).content.decode()
        codes = re.findall(r">((?:[0-9A-Z]{4}-){2}[0-9A-Z]{4})<", done)
        assert len(set(codes)) == 10
        assert not any(code in str(SecondFactor.objects.values_list("recovery_hashes")) for code in codes)
        client.logout()
        refused = client.post("/admin/login/", log_in)
        assert "Enter your password again, and the code that your app shows now." in refused.content.decode()
        assert client.get("/admin/").status_code == 302
        assert not enters(otp=code_of(secret))  # the code that has turned it on was used
    with time_machine.travel("2026-01-02T03:05:05Z", tick=False):
        code = code_of(secret)
        assert [enters(otp=code), enters(otp=code)] == [True, False]
        assert [enters(otp=codes[0].lower()), enters(otp=codes[0])] == [True, False]
        client.force_login(user)
        assert "9 recovery codes are left" in client.get(SECOND_FACTOR).content.decode()
        kept = client.post(SECOND_FACTOR, {"do": "turn_off", "password": "wrong"}).content.decode()
        assert "The password is wrong." in kept
        assert SecondFactor.objects.exists()
        assert client.post(SECOND_FACTOR, {"do": "turn_off", "password": PASSWORD}).status_code == 302
        assert not SecondFactor.objects.exists()
        assert enters()


@pytest.mark.parametrize(("steps", "is_taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_how_far_a_telephone_may_be_off(steps: int, is_taken: bool) -> None:
    with time_machine.travel("2026-01-02T03:04:05Z", tick=False):
        user = UserFactory()
        turn_on(user)
        SecondFactor.objects.update(last_step=0)
        secret = second_factor.secret_of(SecondFactor.objects.get())
        with transaction.atomic(using=alias_of("users")):
            assert second_factor.lets_in(user, code_of(secret, steps)) == is_taken
            assert not second_factor.lets_in(user, code_of(secret, steps))


def test_the_browsable_api_asks_for_it_too(client: Browser) -> None:
    user = UserFactory(role=Role.ADMIN)
    codes = turn_on(user)
    given = {"username": user.email, "password": PASSWORD}
    assert client.post("/api/auth/login/", given).status_code == 200
    assert 'name="otp"' in client.get("/api/auth/login/").content.decode()
    assert client.post("/api/auth/login/", {**given, "otp": codes[0]}).status_code == 302


def test_who_sets_up_a_second_factor(client: Browser) -> None:
    assert client.get(SECOND_FACTOR).status_code == 302
    client.force_login(UserFactory(role=Role.USER))
    assert client.get(SECOND_FACTOR).status_code == 302
    protected = Browser(enforce_csrf_checks=True)
    protected.force_login(UserFactory(role=Role.ADMIN))
    assert protected.post(SECOND_FACTOR, {"do": "begin"}).status_code == 403
    assert not SecondFactor.objects.exists()


def test_pages_speak_chinese(staff: StaffOf) -> None:
    user = UserFactory()
    turn_on(user)
    browser = staff(Role.ADMIN)
    browser.cookies["django_language"] = "zh-hans"
    page = browser.get(f"{PAGES}/user/{user.pk}/change/").content.decode()
    for text in ("已开启；剩余 10 个恢复码。", "结束所有会话", "邮箱地址", "权限变更", "商品管理员"):
        assert text in page
    assert "双重验证未开启" in browser.get(SECOND_FACTOR).content.decode()
    response = browser.post(_action(user, "end_sessions"), {"_form_submitted": "True"})
    assert "已结束 0 个会话。" in browser.get(response["HX-Redirect"]).content.decode()
