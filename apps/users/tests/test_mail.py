"""What the owners of accounts find in their mailbox, and what it lets them do."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
import time_machine
from django.core.mail import EmailMultiAlternatives
from django.db import connections
from django.utils import timezone, translation
from limits import parse_many
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.common.databases import alias_of
from apps.common.errors import DomainError
from apps.events.envelope import Event
from apps.events.models import FailedDelivery, InboxEntry, OutboxEvent
from apps.users import proofs
from apps.users.interface import Client, InvalidLink, InvalidToken, Profile, WrongCredentials
from apps.users.models import Activity, User
from apps.users.proofs import Purpose
from apps.users.services import LocalUserService
from apps.users.tasks import mail_owner
from apps.users.tests.factories import PASSWORD, UserFactory
from tests.flow import deliver_events

pytestmark = pytest.mark.django_db

users = LocalUserService()
CLIENT = Client(address="192.0.2.1", agent="Browser/1.0")
Mails = list[EmailMultiAlternatives]
USERS = "/api/v1/users"
NEW = "another horse 9"


def register(**changes: str) -> User:
    given = {"username": "ada", "email": "ada@example.com", "password": PASSWORD, **changes}
    user = users.register(**given, profile=Profile(first_name="Ada"))
    return User.objects.get(pk=user.id)


def events(*kinds: str) -> list[Event]:
    rows = OutboxEvent.objects.using(alias_of("users")).filter(type__in=kinds).order_by("id")
    return [row.to_event() for row in rows]


def deliver(*happened: Event) -> None:
    mail_owner.delay([event.to_message() for event in happened])


def token_in(mail: EmailMultiAlternatives) -> str:
    found = re.search(r"\?token=(\S+)", str(mail.body))
    assert found
    return found[1]


def test_whoever_registers_is_asked_whether_the_address_is_theirs(mailoutbox: Mails) -> None:
    # A page that this thread has answered before may have been in another language.
    with translation.override("zh-hans"), time_machine.travel("2026-01-02T03:04:05Z", tick=False):
        user = register()
        deliver(*events("user.registered"))
    (mail,) = mailoutbox
    link = f"http://localhost:8080/shop/verify?token={token_in(mail)}"
    assert (mail.to, mail.subject) == (["ada@example.com"], "Is this your e-mail address?")
    assert mail.body == (
        "Hello Ada,\n\nsomebody gave this address for an account at Cartwright. If that was you, open this link:\n\n"
        f"{link}\n\nThe link works once, until 5 January 2026, 03:04 UTC. If it was not you, do nothing: the address "
        "stays unverified.\n\nCartwright\nshop@example.com\n"
    )
    ((page, media_type),) = mail.alternatives
    assert media_type == "text/html"
    assert str(page).count(link) == 2
    assert mail.extra_headers["Auto-Submitted"] == "auto-generated"
    assert not User.objects.get().email_verified
    assert token_in(mail) not in str(OutboxEvent.objects.using(alias_of("users")).values_list("data"))
    assert Activity.objects.get().action == "user.verification_mailed"
    with time_machine.travel("2026-01-05T03:04:04Z", tick=False):
        assert users.verify_email(token=token_in(mail)).id == user.pk
    assert User.objects.get().email_verified


def test_a_link_that_has_expired(mailoutbox: Mails) -> None:
    with time_machine.travel("2026-01-02T03:04:05Z", tick=False):
        register()
        deliver(*events("user.registered"))
    with time_machine.travel("2026-01-05T03:04:07Z", tick=False), pytest.raises(InvalidLink):
        users.verify_email(token=token_in(mailoutbox[0]))
    assert not User.objects.get().email_verified


def test_a_new_address_is_asked_about_and_the_link_to_the_old_one_is_dead(mailoutbox: Mails) -> None:
    user = register()
    deliver(*events("user.registered"))
    users.update_profile(user_id=user.pk, profile=Profile(email="new@example.com"))
    users.update_profile(user_id=user.pk, profile=Profile(first_name="Eve"))
    users.update_profile(user_id=user.pk, profile=Profile(email="NEW@example.com"))  # the same
    deliver(*events("user.updated"))
    assert [mail.to for mail in mailoutbox] == [["ada@example.com"], ["NEW@example.com"]]
    with pytest.raises(InvalidLink):
        users.verify_email(token=token_in(mailoutbox[0]))
    # Not even when the address is the first again.
    users.update_profile(user_id=user.pk, profile=Profile(email="ada@example.com"))
    for mail in mailoutbox:
        with pytest.raises(InvalidLink):
            users.verify_email(token=token_in(mail))
    assert not User.objects.get().email_verified


def test_an_event_that_comes_twice_is_mailed_once(mailoutbox: Mails) -> None:
    register()
    deliver(*events("user.registered"), *events("user.registered"))
    deliver(*events("user.registered"))
    assert len(mailoutbox) == 1


def test_an_event_that_comes_late_is_mailed_only_while_it_is_of_use(mailoutbox: Mails) -> None:
    user = register()
    users.request_password_reset(email="ada@example.com")
    (registered,), (asked,) = events("user.registered"), events("password_reset.requested")
    deliver(replace(registered, timestamp=timezone.now() - timedelta(days=4)))
    deliver(replace(asked, timestamp=timezone.now() - timedelta(hours=2)))
    assert mailoutbox == []
    InboxEntry.objects.using(alias_of("users")).all().delete()
    User.objects.filter(pk=user.pk).update(email_verified=True)
    deliver(registered)
    assert mailoutbox == []
    deliver(asked)
    assert [mail.subject for mail in mailoutbox] == ["Set a new password"]


@pytest.mark.parametrize("change", [{"active": False}, {"erased_at": timezone.now()}])
def test_whoever_has_left_is_not_written_to(mailoutbox: Mails, change: dict[str, object]) -> None:
    register()
    users.request_password_reset(email="ada@example.com")
    User.objects.update(**change)
    deliver(*events("user.registered", "password_reset.requested"))
    assert mailoutbox == []
    assert not FailedDelivery.objects.exists()


def test_nobody_fills_a_mailbox(mailoutbox: Mails) -> None:
    user = register()
    for _ in range(7):
        users.request_password_reset(email="ADA@example.com")
        users.request_verification(user_id=user.pk)
    deliver(*events("password_reset.requested", "verification.requested"))
    assert sorted({mail.subject for mail in mailoutbox}) == ["Is this your e-mail address?", "Set a new password"]
    assert len(mailoutbox) == 10
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        users.request_password_reset(email="ada@example.com")
        deliver(events("password_reset.requested")[-1])
    assert len(mailoutbox) == 11


def test_the_whole_way_of_a_forgotten_password(api: APIClient, mailoutbox: Mails, settings: Settings) -> None:
    settings.LOCK_ACCOUNT_AFTER = 2
    settings.PASSWORD_RESET_PAGE = "https://shop.example.com/new?t=1&token={token}"
    user = register()
    old = users.log_in(login="ada", password=PASSWORD, client=CLIENT)
    for _ in range(2):
        with pytest.raises(WrongCredentials):
            users.log_in(login="ada", password="forgotten", client=CLIENT)
    assert api.post(f"{USERS}/password/reset", {"email": "Ada@Example.com"}).status_code == 202
    deliver(*events("password_reset.requested"))
    (mail,) = mailoutbox
    found = re.search(r"https://shop\.example\.com/new\?t=1&token=(\S+)", str(mail.body))
    assert found
    assert str(mail.alternatives[0][0]).count("https://shop.example.com/new?t=1&amp;token=") == 2
    response = api.post(f"{USERS}/password/reset/confirm", {"token": found[1], "password": NEW})
    assert (response.status_code, response.content) == (204, b"")
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=old.access)
    with pytest.raises(InvalidToken):
        users.refresh(refresh_token=old.refresh, client=CLIENT)
    assert users.log_in(login="ada", password=NEW, client=CLIENT).user.id == user.pk  # and the account is open
    assert list(Activity.objects.order_by("id").values_list("action", flat=True)) == [
        "user.logged_in",
        "user.reset_mailed",
        "user.password_reset",
        "user.logged_in",
    ]


def _change_password(user: User) -> None:
    users.change_password(user_id=user.pk, session_id=None, old=PASSWORD, new=NEW)


def _change_address(user: User) -> None:
    users.update_profile(user_id=user.pk, profile=Profile(email="new@example.com"))
    users.update_profile(user_id=user.pk, profile=Profile(email="ada@example.com"))


def _deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(active=False)


def _erase(user: User) -> None:
    users.erase_user(user_id=user.pk, password=PASSWORD)


@pytest.mark.parametrize("happens", [_change_password, _change_address, _deactivate, _erase])
def test_what_kills_a_link_to_a_new_password(happens: Callable[[User], None]) -> None:
    user = register()
    token = proofs.write(Purpose.RESET, user)
    happens(user)
    before = User.objects.values_list("password", flat=True).get()
    with pytest.raises(InvalidLink):
        users.reset_password(token=token, password="a third horse 9")
    assert User.objects.values_list("password", flat=True).get() == before


@pytest.mark.parametrize("spoil", [lambda text: text[:-1], lambda text: "x" + text, lambda _: "", lambda _: "é:" * 99])
def test_tokens_that_are_none(spoil: Callable[[str], str]) -> None:
    token = proofs.write(Purpose.RESET, register())
    with pytest.raises(InvalidLink):
        users.reset_password(token=spoil(token), password=NEW)


def test_a_token_is_good_for_what_it_was_mailed_for() -> None:
    user = register()
    with pytest.raises(InvalidLink):
        users.reset_password(token=proofs.write(Purpose.VERIFY, user), password=NEW)
    with pytest.raises(InvalidLink):
        users.verify_email(token=proofs.write(Purpose.RESET, user))


def test_a_refused_password_leaves_the_link_alive() -> None:
    user = register()
    token = proofs.write(Purpose.RESET, user)
    with pytest.raises(DomainError):
        users.reset_password(token=token, password="short")
    users.reset_password(token=token, password=NEW)


def test_asking_again_over_rest(api: APIClient, settings: Settings, mailoutbox: Mails) -> None:
    user = register()
    pair = users.log_in(login="ada", password=PASSWORD, client=CLIENT)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
    assert api.post(f"{USERS}/email/verify/request").status_code == 202
    deliver(*events("verification.requested"))
    assert api.post(f"{USERS}/email/verify", {"token": token_in(mailoutbox[0])}).status_code == 204
    response = api.post(f"{USERS}/email/verify/request")
    assert (response.status_code, response.json()["errors"][0]["code"]) == (409, "already_verified")
    response = api.post(f"{USERS}/email/verify", {"token": token_in(mailoutbox[0])})
    assert response.status_code == 400
    assert [(error["code"], error["attr"]) for error in response.json()["errors"]] == [("invalid_link", "token")]
    assert users.get_user(user_id=user.pk).email_verified


def test_asking_again_is_limited(api: APIClient, settings: Settings) -> None:
    settings.RATE_LIMITS = {"mails": parse_many("5/hour")}
    register()
    pair = users.log_in(login="ada", password=PASSWORD, client=CLIENT)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
    answers = [api.post(f"{USERS}/email/verify/request") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [202] * 5 + [429]
    assert int(answers[-1]["Retry-After"]) > 3500


@pytest.mark.django_db(transaction=True)
def test_registering_is_mailed_by_the_relay_and_verified_by_the_link(mailoutbox: Mails) -> None:
    register()
    deliver_events()
    assert users.verify_email(token=token_in(mailoutbox[0])).email_verified
    deliver_events()
    assert len(mailoutbox) == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_that_bring_a_token_at_once_one_sets_the_password() -> None:
    token = proofs.write(Purpose.RESET, UserFactory())
    barrier = Barrier(2)

    def reset(number: int) -> object:
        try:
            barrier.wait(10)
            users.reset_password(token=token, password=f"another horse {number}")
        except DomainError as error:
            return type(error)
        else:
            return None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(reset, range(2)))
    assert sorted(map(str, outcomes)) == sorted(map(str, [None, InvalidLink]))
    assert Activity.objects.filter(action="user.password_reset").count() == 1
