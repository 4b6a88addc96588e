"""Too many failed log-ins close an account, or a network, for a while; and nobody is told which."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import connections
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.users import guard
from apps.users.interface import Client, Role, WrongCredentials
from apps.users.models import Activity, FailedLogIns, Session, User
from apps.users.services import LocalUserService
from apps.users.tasks import clean_failed_log_ins
from apps.users.tests.factories import PASSWORD, UserFactory, turn_on

pytestmark = pytest.mark.django_db

users = LocalUserService()
LOGIN = "/api/v1/users/login"


@pytest.fixture(autouse=True)
def _few(settings: Settings) -> None:
    settings.LOCK_ACCOUNT_AFTER, settings.LOCK_ADDRESS_AFTER = 3, 5


def fail(login: str, times: int, address: str = "192.0.2.1") -> None:
    for _ in range(times):
        with pytest.raises(WrongCredentials):
            users.log_in(login=login, password="wrong", client=Client(address, ""))


def is_let_in(login: str, address: str = "192.0.2.99") -> bool:
    try:
        users.log_in(login=login, password=PASSWORD, client=Client(address, ""))
    except WrongCredentials:
        return False
    return True


def test_an_account_is_closed_after_the_last_failure_that_it_may_have() -> None:
    UserFactory(email="ada@example.com", username="ada")
    fail("ada@example.com", 2)
    assert is_let_in("ada@example.com")  # and what was counted is forgotten
    fail("ada@example.com", 2)
    fail("ADA", 1)  # by either name
    assert not is_let_in("ada@example.com")
    assert not is_let_in("ada")
    assert Session.objects.count() == 1


def test_it_opens_when_its_window_is_over_and_not_before() -> None:
    UserFactory(email="ada@example.com")
    with time_machine.travel("2026-01-02T03:00:00Z", tick=False):
        fail("ada@example.com", 3)
    with time_machine.travel("2026-01-02T03:14:59Z", tick=False):
        assert not is_let_in("ada@example.com")
    with time_machine.travel("2026-01-02T03:15:01Z", tick=False):
        assert is_let_in("ada@example.com")


def test_failures_of_an_earlier_window_do_not_count() -> None:
    UserFactory(email="ada@example.com")
    with time_machine.travel("2026-01-02T03:00:00Z", tick=False):
        fail("ada@example.com", 2)
    with time_machine.travel("2026-01-02T03:20:00Z", tick=False):
        fail("ada@example.com", 2)
        assert is_let_in("ada@example.com")


def test_a_closed_account_counts_nothing_so_that_it_opens_in_time() -> None:
    UserFactory(email="ada@example.com")
    fail("ada@example.com", 3)
    closed = FailedLogIns.objects.get(key__startswith="account:")
    fail("ada@example.com", 1)
    assert FailedLogIns.objects.get(key__startswith="account:").ends_at == closed.ends_at
    assert FailedLogIns.objects.get(key__startswith="network:").failures == 3


def test_a_network_is_closed_whatever_account_it_tries() -> None:
    for number in range(5):
        UserFactory(username=f"user{number}x")
        fail(f"user{number}x", 1, "2001:db8::1")
    UserFactory(username="bystander")
    assert not is_let_in("bystander", "2001:db8::ffff")  # a neighbour, as the same person may be
    assert is_let_in("bystander", "2001:db8:0:1::1")


def test_success_does_not_open_a_network_for_guesses_at_others() -> None:
    UserFactory(username="own")
    for number in range(5):
        fail(f"somebody{number}", 1, "192.0.2.1")
        is_let_in("own", "192.0.2.1")
    assert not is_let_in("own", "192.0.2.1")


def test_without_an_address_only_the_account_counts() -> None:
    fail("nobody", 1, "")
    assert [row.key.partition(":")[0] for row in FailedLogIns.objects.all()] == ["name"]


def test_what_was_typed_as_a_name_is_not_kept() -> None:
    fail("my password, by mistake", 1)
    assert not FailedLogIns.objects.filter(key__contains="mistake").exists()


def test_an_admin_opens_it() -> None:
    user = UserFactory(username="ada")
    fail("ada", 3)
    users.unlock_user(user_id=user.pk)
    assert is_let_in("ada")
    assert list(Activity.objects.values_list("action", flat=True)) == ["user.logged_in", "user.unlocked"]


def test_guesses_of_one_who_is_logged_in_count_too() -> None:
    user = UserFactory(username="ada")
    for _ in range(3):
        with pytest.raises(WrongCredentials):
            users.change_password(user_id=user.pk, session_id=None, old="wrong", new="another horse 9")
    with pytest.raises(WrongCredentials):
        users.change_password(user_id=user.pk, session_id=None, old=PASSWORD, new="another horse 9")
    with pytest.raises(WrongCredentials):
        users.erase_user(user_id=user.pk, password=PASSWORD)
    assert User.objects.get().check_password(PASSWORD)


@pytest.mark.parametrize("page", ["/admin/login/", "/api/auth/login/"])
def test_log_in_pages_are_closed_too(client: Browser, page: str) -> None:
    UserFactory(username="ada", role=Role.ADMIN)
    answers = [client.post(page, {"username": "ada", "password": "wrong"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    closed = client.post(page, {"username": "ada", "password": PASSWORD})
    assert closed.status_code == 200
    assert "sessionid" not in client.cookies
    # Word for word what a wrong password is told.
    assert closed.context["form"].non_field_errors() == answers[0].context["form"].non_field_errors()


def test_rest_says_the_same_of_a_closed_account_and_of_one_that_is_not_there(api: APIClient) -> None:
    UserFactory(email="ada@example.com")
    fail("ada@example.com", 3)
    closed = api.post(LOGIN, {"email": "ada@example.com", "password": PASSWORD})
    unknown = api.post(LOGIN, {"email": "nobody@example.com", "password": PASSWORD})
    assert closed.status_code == unknown.status_code == 401
    assert closed.json() == unknown.json()


def test_wrong_codes_close_an_account_and_missing_ones_do_not(api: APIClient) -> None:
    user = UserFactory(email="ada@example.com")
    turn_on(user)
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert [api.post(LOGIN, body).json()["errors"][0]["code"] for _ in range(4)] == ["otp_required"] * 4
    answers = [api.post(LOGIN, {**body, "otp": "000000x"}).json()["errors"][0]["code"] for _ in range(4)]
    assert answers == ["otp_required"] * 3 + ["wrong_credentials"]


def test_what_is_over_is_forgotten() -> None:
    FailedLogIns.objects.create(key="account:a", failures=1, ends_at=timezone.now() - timedelta(seconds=1))
    FailedLogIns.objects.create(key="account:b", failures=1, ends_at=timezone.now() + timedelta(minutes=1))
    clean_failed_log_ins()
    assert [row.key for row in FailedLogIns.objects.all()] == ["account:b"]


@pytest.mark.django_db(transaction=True)
def test_of_failures_at_once_none_is_lost() -> None:
    user = UserFactory()

    def note(_: int) -> None:
        guard.attempt(user.username, user, "192.0.2.1").note_failure()
        connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(note, range(12)))
    assert set(FailedLogIns.objects.values_list("failures", flat=True)) == {12}
    failures = guard.failures_of(user.pk)
    assert failures is not None
    assert failures.failures == 12
