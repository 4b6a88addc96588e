"""The rules of accounts and sessions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.db import connections
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from apps.common.errors import DomainError
from apps.events.models import OutboxEvent
from apps.users import audit, models, passwords
from apps.users.interface import (
    Client,
    EmailTaken,
    InvalidProfile,
    InvalidToken,
    OwnRole,
    Principal,
    Profile,
    Role,
    SessionNotFound,
    TokenPair,
    UsernameTaken,
    UserNotFound,
    WeakPassword,
    WrongCredentials,
)
from apps.users.models import Activity, Session
from apps.users.services import LocalUserService
from apps.users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

users = LocalUserService()
CLIENT = Client(address="192.0.2.1", agent="Browser/1.0")
NOBODY = UUID("019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d10")


def _register(**changes: str) -> Any:  # noqa: ANN401 - keeps the table of bad input short
    given = {"username": "testuser", "email": "test@example.com", "password": "password123", **changes}
    return users.register(**given, profile=Profile(first_name="Testine"))


def _log_in(user: models.User) -> TokenPair:
    return users.log_in(login=user.email, password=PASSWORD, client=CLIENT)


def _events() -> list[tuple[str, int]]:
    return [(event.type, event.sequence) for event in OutboxEvent.objects.order_by("id")]


def _actions(user: models.User) -> list[str]:
    return list(Activity.objects.filter(user=user).order_by("id").values_list("action", flat=True))


def test_register() -> None:
    user = _register(email=" Test@EXAMPLE.com")
    assert (user.username, user.email, user.first_name, user.role) == (
        "testuser",
        "Test@example.com",
        "Testine",
        Role.USER,
    )
    assert (user.active, user.email_verified) == (True, False)
    assert users.get_user(user_id=user.id) == user == users.get_user_by_email(email="TEST@example.COM")
    event = OutboxEvent.objects.get()
    assert (event.type, event.source, event.subject, event.sequence) == ("user.registered", "users", user.id, 1)
    assert event.data == {"user_id": str(user.id), "username": "testuser", "email": "Test@example.com"}


@pytest.mark.parametrize(
    ("changes", "error", "attr"),
    [
        ({"email": "TEST@Example.com", "username": "other"}, EmailTaken, "email"),
        ({"email": "other@example.com", "username": "TestUser"}, UsernameTaken, "username"),
        ({"email": "other@example.com", "username": "\uff54estuser"}, UsernameTaken, "username"),  # a full-width t
    ],
)
def test_names_are_unique_ignoring_case(changes: dict[str, str], error: type[DomainError], attr: str) -> None:
    _register()
    with pytest.raises(error) as refusal:
        _register(**changes)
    assert [problem.attr for problem in refusal.value.problems] == [attr]
    assert models.User.objects.count() == 1
    assert _events() == [("user.registered", 1)]


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"username": ""}, "username"),
        ({"username": "a@b"}, "username"),
        ({"username": "a\uff20b"}, "username"),  # a full-width @ is kept as @
        ({"username": "a\0b"}, "username"),
        ({"username": "a\nb"}, "username"),
        ({"username": "a\u200bb"}, "username"),
        ({"username": "a\u2028b"}, "username"),
        ({"username": "x" * 151}, "username"),
        ({"username": "\ufdfa" * 150}, "username"),  # NFKC makes 18 characters of each
        ({"email": ""}, "email"),
        ({"email": "testuser"}, "email"),
        ({"email": f"{'x' * 250}@example.com"}, "email"),
    ],
)
def test_names_that_no_account_can_have(changes: dict[str, str], attr: str) -> None:
    with pytest.raises(InvalidProfile) as refusal:
        _register(**changes)
    assert {problem.attr for problem in refusal.value.problems} == {attr}
    assert not models.User.objects.exists()
    assert not OutboxEvent.objects.exists()


def test_the_longest_folded_names_fit() -> None:
    user = _register(username="\u0390" * 150)  # folding makes three characters of each
    assert users.log_in(login=user.username, password="password123", client=CLIENT).user == user


@pytest.mark.parametrize(
    "password",
    ["short", "x" * 129, "longusername", "LongUserName", "me@example.com", "ME@example.com", "Firstname", "lastNAME"],
)
def test_weak_passwords(password: str) -> None:
    profile = Profile(first_name="firstname", last_name="lastname")
    with pytest.raises(WeakPassword) as refusal:
        users.register(username="longusername", email="me@example.com", password=password, profile=profile)
    assert [problem.attr for problem in refusal.value.problems] == ["password"]
    assert not models.User.objects.exists()


def test_each_broken_rule_is_named() -> None:
    with pytest.raises(WeakPassword) as refusal:
        _register(username="short", password="SHORT")
    assert [problem.detail for problem in refusal.value.problems] == [
        "The password is too similar to the username.",
        "This password is too short. It must contain at least 8 characters.",
    ]


@pytest.mark.parametrize("login", ["Known@Example.com", "known", " KNOWN "])
def test_log_in(login: str) -> None:
    user = UserFactory(username="Known", email="known@example.com", role=Role.ORDER_STAFF)
    pair = users.log_in(login=login, password=PASSWORD, client=CLIENT)
    session = Session.objects.get()
    assert (session.user_id, session.address, session.agent) == (user.pk, "192.0.2.1", "Browser/1.0")
    assert (pair.expires_in, pair.user) == (900, users.get_user(user_id=user.pk))
    expected = Principal(id=user.pk, role=Role.ORDER_STAFF, session_id=session.pk)
    assert users.authenticate(access_token=pair.access) == expected
    assert [(line.action, line.details) for line in Activity.objects.all()] == [
        ("user.logged_in", "Logged in from 192.0.2.1.")
    ]


@pytest.mark.parametrize(
    ("login", "password", "active"),
    [
        ("unknown@example.com", PASSWORD, True),
        ("known@example.com", "wrong password", True),
        ("known@example.com", PASSWORD, False),
        ("", PASSWORD, True),
        ("@", "", True),
    ],
)
def test_wrong_credentials(login: str, password: str, active: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    UserFactory(email="known@example.com", active=active)
    hashed: list[str] = []
    monkeypatch.setattr(passwords, "make_password", hashed.append)
    with pytest.raises(WrongCredentials, match=r"^The log-in or the password is wrong\. After many attempts, "):
        users.log_in(login=login, password=password, client=CLIENT)
    assert not Session.objects.exists()
    assert not Activity.objects.exists()
    assert hashed == ([] if login.startswith("known") else [password])  # an unknown account costs a hash too


@override_settings(
    PASSWORD_HASHERS=[
        "apps.users.hashers.OwaspArgon2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
)
def test_an_old_hash_is_replaced_at_log_in() -> None:
    user = UserFactory(password=make_password(PASSWORD, hasher="md5"))
    _log_in(user)
    user.refresh_from_db()
    assert user.password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    _log_in(user)


def test_an_account_deactivated_while_its_password_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    user = UserFactory()
    found = passwords.find_user

    def find_then_deactivate(login: str, password: str, address: str) -> models.User | None:
        checked = found(login, password, address)
        models.User.objects.update(active=False)
        return checked

    monkeypatch.setattr(passwords, "find_user", find_then_deactivate)
    with pytest.raises(WrongCredentials):
        _log_in(user)
    assert not Session.objects.exists()


@pytest.mark.parametrize(
    ("client", "address", "agent"),
    [
        (Client("", ""), None, ""),
        (Client("unix:", "a\0b\x1b" + "c" * 300), None, "ab" + "c" * 198),
        (Client("fe80::1%eth0", "x"), "fe80::1", "x"),
        (Client("1.2.3.4, 5.6.7.8", "x"), None, "x"),
    ],
)
def test_any_client_is_kept(client: Client, address: str | None, agent: str) -> None:
    users.log_in(login=UserFactory().email, password=PASSWORD, client=client)
    session = Session.objects.get()
    assert (session.address, session.agent) == (address, agent)


@pytest.mark.usefixtures("shared_cache")
def test_authenticating_costs_no_query_while_the_session_is_marked_in_redis(
    django_assert_num_queries: DjangoAssertNumQueries,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        pair = _log_in(UserFactory())
    with django_assert_num_queries(0):
        users.authenticate(access_token=pair.access)
    cache.delete_pattern("*")  # type: ignore[attr-defined] # django-redis
    with django_assert_num_queries(1):
        users.authenticate(access_token=pair.access)
    with django_assert_num_queries(0):
        users.authenticate(access_token=pair.access)


@pytest.mark.usefixtures("shared_cache")
def test_refusing_costs_no_query_while_the_end_is_marked_in_redis(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    pair = _log_in(UserFactory())
    Session.objects.update(revoked_at=timezone.now())
    for queries in (1, 0):
        with django_assert_num_queries(queries), pytest.raises(InvalidToken):
            users.authenticate(access_token=pair.access)


def test_without_redis_each_time_the_database_is_asked_whether_a_session_lives(
    django_assert_num_queries: DjangoAssertNumQueries,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        pair = _log_in(UserFactory())
    for _ in range(2):
        with django_assert_num_queries(1):
            users.authenticate(access_token=pair.access)
    Session.objects.update(revoked_at=timezone.now())  # as another process does, whose cache is its own
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=pair.access)


def test_logging_out_ends_one_session_at_once(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    user = UserFactory()
    ended, other = _log_in(user), _log_in(user)
    session_id = users.authenticate(access_token=ended.access).session_id
    with django_capture_on_commit_callbacks(execute=True):
        users.log_out(user_id=user.pk, session_id=session_id)
    for use in (
        lambda: users.authenticate(access_token=ended.access),
        lambda: users.refresh(refresh_token=ended.refresh, client=CLIENT),
    ):
        with pytest.raises(InvalidToken):
            use()
    with pytest.raises(SessionNotFound):
        users.log_out(user_id=user.pk, session_id=session_id)
    assert [session.id for session in users.list_sessions(user_id=user.pk)] == [
        users.authenticate(access_token=other.access).session_id
    ]
    assert _actions(user) == ["user.logged_in", "user.logged_in"]


@pytest.mark.usefixtures("shared_cache")
def test_a_reader_that_is_late_does_not_bring_an_ended_session_back(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    user = UserFactory()
    pair = _log_in(user)
    session = Session.objects.get()
    with django_capture_on_commit_callbacks(execute=True):
        users.log_out(user_id=user.pk, session_id=session.pk)
    Session.objects.update(revoked_at=None)  # what the late reader saw
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=pair.access)


def test_the_newest_sessions_are_listed() -> None:
    user, now = UserFactory(), timezone.now()
    rows = [Session(user=user, expires_at=now + timedelta(days=1)) for _ in range(101)]
    Session.objects.bulk_create(rows)
    newest = [row.pk for row in reversed(rows)]
    assert [session.id for session in users.list_sessions(user_id=user.pk)] == newest[:100]
    users.log_out(user_id=user.pk, session_id=newest[0])
    assert [session.id for session in users.list_sessions(user_id=user.pk)] == newest[1:]


def test_nobody_ends_anothers_session() -> None:
    _log_in(UserFactory())
    with pytest.raises(SessionNotFound):
        users.log_out(user_id=UserFactory().pk, session_id=Session.objects.get().pk)
    assert Session.objects.get().revoked_at is None


def test_an_expired_session_is_over() -> None:
    user = UserFactory()
    pair = _log_in(user)
    Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=pair.access)
    with pytest.raises(InvalidToken):
        users.refresh(refresh_token=pair.refresh, client=CLIENT)
    assert users.list_sessions(user_id=user.pk) == []


def test_refresh_rotates_and_reads_the_role_again() -> None:
    user = UserFactory()
    with time_machine.travel("2026-01-02T03:04:05Z", tick=False):
        first = _log_in(user)
    models.User.objects.update(role=Role.CATALOG_STAFF)
    with time_machine.travel("2026-01-05T03:04:05Z", tick=False):
        second = users.refresh(refresh_token=first.refresh, client=Client("192.0.2.9", "Phone"))
        assert users.authenticate(access_token=second.access).role == Role.CATALOG_STAFF
        (session,) = users.list_sessions(user_id=user.pk)
    assert second.user.role == Role.CATALOG_STAFF
    assert (session.address, session.agent) == ("192.0.2.9", "Phone")
    assert session.last_used_at == datetime(2026, 1, 5, 3, 4, 5, tzinfo=UTC)
    assert session.expires_at == datetime(2026, 1, 12, 3, 4, 5, tzinfo=UTC)


def test_a_refresh_token_used_twice_ends_its_session(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    user = UserFactory()
    first = _log_in(user)
    bystander = _log_in(user)
    second = users.refresh(refresh_token=first.refresh, client=CLIENT)
    users.authenticate(access_token=second.access)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(InvalidToken):
        users.refresh(refresh_token=first.refresh, client=CLIENT)
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=second.access)
    with pytest.raises(InvalidToken):
        users.refresh(refresh_token=second.refresh, client=CLIENT)
    users.authenticate(access_token=bystander.access)
    assert _actions(user) == ["user.logged_in", "user.logged_in", "user.session_revoked"]


def test_refresh_refuses_the_inactive() -> None:
    pair = _log_in(UserFactory())
    models.User.objects.update(active=False)
    with pytest.raises(InvalidToken):
        users.refresh(refresh_token=pair.refresh, client=CLIENT)


def test_update_profile() -> None:
    user = UserFactory(username="before", first_name="Old", phone="1", email_verified=True)
    changed = users.update_profile(user_id=user.pk, profile=Profile(username="After", first_name=""))
    assert (changed.username, changed.first_name, changed.phone, changed.email_verified) == ("After", "", "1", True)
    changed = users.update_profile(user_id=user.pk, profile=Profile(email="new@example.com"))
    assert (changed.email, changed.email_verified) == ("new@example.com", False)
    assert users.get_user_by_email(email="NEW@example.com") == changed
    assert _events() == [("user.updated", 2), ("user.updated", 3)]


def test_an_update_that_changes_nothing_is_no_event() -> None:
    user = UserFactory(username="same")
    before = users.get_user(user_id=user.pk)
    assert users.update_profile(user_id=user.pk, profile=Profile(username=" same ")) == before
    assert _events() == []


@pytest.mark.parametrize(
    ("profile", "error"),
    [
        (Profile(email="TAKEN@example.com"), EmailTaken),
        (Profile(username="TAKEN"), UsernameTaken),
        (Profile(username="a@b"), InvalidProfile),
        (Profile(phone="1" * 33), InvalidProfile),
    ],
)
def test_refused_updates_change_nothing(profile: Profile, error: type[DomainError]) -> None:
    UserFactory(username="taken", email="taken@example.com")
    user = UserFactory()
    before = users.get_user(user_id=user.pk)
    with pytest.raises(error):
        users.update_profile(user_id=user.pk, profile=profile)
    assert users.get_user(user_id=user.pk) == before
    assert _events() == []


def test_change_password(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> None:
    user = UserFactory()
    mine, other = _log_in(user), _log_in(user)
    session_id = users.authenticate(access_token=mine.access).session_id
    with django_capture_on_commit_callbacks(execute=True):
        users.change_password(user_id=user.pk, session_id=session_id, old=PASSWORD, new="another horse 8")
    users.authenticate(access_token=mine.access)
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=other.access)
    with pytest.raises(WrongCredentials):
        _log_in(user)
    users.log_in(login=user.email, password="another horse 8", client=CLIENT)
    assert _actions(user) == ["user.logged_in", "user.logged_in", "user.password_changed", "user.logged_in"]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [("wrong", "another horse 8", WrongCredentials), (PASSWORD, "short", WeakPassword)],
)
def test_refused_password_changes_change_nothing(old: str, new: str, error: type[DomainError]) -> None:
    user = UserFactory()
    pair = _log_in(user)
    with pytest.raises(error):
        users.change_password(user_id=user.pk, session_id=None, old=old, new=new)
    users.authenticate(access_token=pair.access)
    assert _actions(user) == ["user.logged_in"]
    _log_in(user)


@pytest.mark.parametrize(
    ("change", "event"),
    [({"role": Role.ADMIN}, "user.updated"), ({"active": False}, "user.deactivated")],
)
def test_manage_user(
    change: dict[str, Any],
    event: str,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    admin, user = UserFactory(role=Role.ADMIN), UserFactory()
    pair = _log_in(user)
    users.authenticate(access_token=pair.access)
    with django_capture_on_commit_callbacks(execute=True):
        managed = users.manage_user(actor_id=admin.pk, user_id=user.pk, **change)
    assert {name: getattr(managed, name) for name in change} == change
    assert _events() == [(event, 2)]
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=pair.access)
    assert users.list_sessions(user_id=user.pk) == []


def test_managing_without_a_change_ends_no_session() -> None:
    admin, user = UserFactory(role=Role.ADMIN), UserFactory()
    _log_in(user)
    users.manage_user(actor_id=admin.pk, user_id=user.pk, role=Role.USER, active=True)
    assert len(users.list_sessions(user_id=user.pk)) == 1
    assert _events() == []


def test_nobody_manages_themselves() -> None:
    admin = UserFactory(role=Role.ADMIN)
    with pytest.raises(OwnRole):
        users.manage_user(actor_id=admin.pk, user_id=admin.pk, active=False)
    assert users.get_user(user_id=admin.pk).active


@pytest.mark.parametrize(
    "call",
    [
        lambda: users.get_user(user_id=NOBODY),
        lambda: users.get_user_by_email(email="nobody@example.com"),
        lambda: users.update_profile(user_id=NOBODY, profile=Profile()),
        lambda: users.change_password(user_id=NOBODY, session_id=None, old="a", new="b"),
        lambda: users.manage_user(actor_id=UserFactory().pk, user_id=NOBODY, active=False),
    ],
)
def test_unknown_users(call: Callable[[], object]) -> None:
    with pytest.raises(UserNotFound):
        call()


def test_audit_finds_what_went_wrong() -> None:
    user = UserFactory()
    _log_in(user)
    assert [list(rule.violations()) for rule in audit.RULES] == [[], [], []]
    assert [rule.checked() for rule in audit.RULES] == [1, 1, 1]
    models.User.objects.update(active=False, email_folded="somebody else")
    assert [len(list(rule.violations())) for rule in audit.RULES] == [1, 1, 0]


# --- Two at once ---------------------------------------------------------------------------------


def _twice(call: Callable[[int], object]) -> list[object]:
    """What two simultaneous calls came to."""
    barrier = Barrier(2)

    def run(number: int) -> object:
        try:
            barrier.wait(10)
            return call(number)
        except DomainError as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, range(2)))


@pytest.mark.django_db(transaction=True)
def test_two_simultaneous_registrations_of_one_address() -> None:
    outcomes = _twice(lambda number: _register(username=f"user{number}"))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["EmailTaken", "User"]
    assert models.User.objects.count() == 1
    assert _events() == [("user.registered", 1)]


@pytest.mark.django_db(transaction=True)
def test_two_simultaneous_refreshes_of_one_token() -> None:
    user = UserFactory()
    pair = _log_in(user)
    outcomes = _twice(lambda _: users.refresh(refresh_token=pair.refresh, client=CLIENT))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvalidToken", "TokenPair"]
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, TokenPair)]
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=won.access)
    assert _actions(user) == ["user.logged_in", "user.session_revoked"]
