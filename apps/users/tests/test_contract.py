"""What the interface promises, of the service in this process and of the same service over gRPC: no difference."""

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from pytest_django import Settings

from apps.common.databases import atomic
from apps.common.errors import DomainError, Problem
from apps.events.models import OutboxEvent
from apps.users import models, proofs, service_tokens
from apps.users.interface import (
    ActivityLine,
    AlreadyVerified,
    Client,
    EmailTaken,
    InvalidLink,
    InvalidProfile,
    InvalidToken,
    LastAdmin,
    OtpRequired,
    OwnRole,
    Principal,
    Profile,
    Role,
    Scope,
    ServiceAccount,
    SessionNotFound,
    User,
    UsernameTaken,
    UserNotFound,
    UserService,
    WeakPassword,
    WrongCredentials,
)
from apps.users.proofs import Purpose
from apps.users.services import LocalUserService
from apps.users.tests.factories import PASSWORD, UserFactory, turn_on
from grpc_api.clients.remote import CalledInTransaction
from grpc_api.clients.users import RemoteUserService
from grpc_api.servers.users import hosted
from grpc_api.tests.running import peer, serving

pytestmark = pytest.mark.django_db(transaction=True)

HERE = Client(address="192.0.2.7", agent="Firefox")


@pytest.fixture(params=["local", "grpc"])
def users(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[UserService]:
    """The users service, in each of the two ways."""
    if request.param == "local":
        yield LocalUserService()
        return
    with serving(hosted(LocalUserService())) as address:
        yield RemoteUserService(peer("users", address))


def register(users: UserService, name: str = "ada") -> User:
    return users.register(username=name, email=f"{name}@example.com", password=PASSWORD, profile=Profile())


def problems_of(error: DomainError) -> list[Problem]:
    return list(error.problems)


class TestAccounts:
    def test_a_registered_account_is_found_by_id_and_email_and_has_every_field(self, users: UserService) -> None:
        profile = Profile(first_name="Ada", last_name="Lovelace", phone="+44 1", address="London\n手机")
        made = users.register(username="ada", email="ada@example.com", password=PASSWORD, profile=profile)
        row = models.User.objects.get()
        assert made == User(
            id=row.pk,
            username="ada",
            email="ada@example.com",
            first_name="Ada",
            last_name="Lovelace",
            phone="+44 1",
            address="London\n手机",
            role=Role.USER,
            active=True,
            email_verified=False,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        assert users.get_user(user_id=made.id) == made
        assert users.get_user_by_email(email="ADA@example.com") == made
        assert type(made.id) is UUID
        assert type(made.role) is Role

    def test_an_unknown_account(self, users: UserService) -> None:
        with pytest.raises(UserNotFound) as by_id:
            users.get_user(user_id=uuid4())
        with pytest.raises(UserNotFound):
            users.get_user_by_email(email="nobody@example.com")
        assert problems_of(by_id.value) == [Problem("There is no such user.")]

    def test_a_name_that_is_taken_changes_nothing(self, users: UserService) -> None:
        register(users)
        events = OutboxEvent.objects.count()
        with pytest.raises(EmailTaken) as taken:
            users.register(username="eve", email="ADA@example.com", password=PASSWORD, profile=Profile())
        with pytest.raises(UsernameTaken):
            users.register(username="Ada", email="eve@example.com", password=PASSWORD, profile=Profile())
        assert problems_of(taken.value) == [Problem("Another account has this e-mail address.", "email")]
        assert (models.User.objects.count(), OutboxEvent.objects.count()) == (1, events)

    def test_each_field_that_is_wrong_is_named(self, users: UserService) -> None:
        with pytest.raises(InvalidProfile) as wrong:
            users.register(username="", email="no address", password=PASSWORD, profile=Profile(phone="1" * 33))
        assert sorted(str(problem.attr) for problem in problems_of(wrong.value)) == ["email", "phone", "username"]
        assert wrong.value.code == "invalid"
        assert not models.User.objects.exists()

    def test_a_weak_password(self, users: UserService) -> None:
        with pytest.raises(WeakPassword):
            users.register(username="ada", email="ada@example.com", password="short", profile=Profile())
        assert not models.User.objects.exists()

    def test_what_is_not_given_stays_and_what_is_empty_is_emptied(self, users: UserService) -> None:
        user = users.register(
            username="ada", email="ada@example.com", password=PASSWORD, profile=Profile(phone="1", address="London")
        )
        changed = users.update_profile(user_id=user.id, profile=Profile(phone="", first_name="Ada"))
        assert (changed.phone, changed.address, changed.first_name) == ("", "London", "Ada")
        with pytest.raises(UserNotFound):
            users.update_profile(user_id=uuid4(), profile=Profile(phone="2"))
        with pytest.raises(InvalidProfile):
            users.update_profile(user_id=user.id, profile=Profile(email="no address"))
        register(users, "eve")
        with pytest.raises(EmailTaken):
            users.update_profile(user_id=user.id, profile=Profile(email="eve@example.com"))

    def test_roles_and_activity_are_managed(self, users: UserService) -> None:
        user, actor = register(users), register(users, "boss")
        assert users.manage_user(actor_id=actor.id, user_id=user.id, role=Role.ORDER_STAFF).role is Role.ORDER_STAFF
        managed = users.manage_user(actor_id=actor.id, user_id=user.id, active=False)
        assert (managed.role, managed.active) == (Role.ORDER_STAFF, False)
        with pytest.raises(OwnRole):
            users.manage_user(actor_id=user.id, user_id=user.id, role=Role.ADMIN)
        with pytest.raises(UserNotFound):
            users.manage_user(actor_id=actor.id, user_id=uuid4(), active=True)


class TestSessions:
    def test_a_session_from_log_in_to_log_out(self, users: UserService) -> None:
        user = register(users)
        pair = users.log_in(login="ada", password=PASSWORD, client=HERE)
        assert (pair.user, pair.expires_in) == (user, 900)
        principal = users.authenticate(access_token=pair.access)
        (session,) = users.list_sessions(user_id=user.id)
        assert principal == Principal(id=user.id, role=Role.USER, session_id=session.id)
        assert (session.address, session.agent) == ("192.0.2.7", "Firefox")
        identity = users.identify_caller(token=pair.access)
        assert identity.caller == principal
        assert timedelta(minutes=14) < identity.expires_at - timezone.now() <= timedelta(minutes=15)
        users.log_out(user_id=user.id, session_id=session.id)
        with pytest.raises(InvalidToken):
            users.authenticate(access_token=pair.access)
        with pytest.raises(InvalidToken):
            users.identify_caller(token=pair.access)
        with pytest.raises(SessionNotFound):
            users.log_out(user_id=user.id, session_id=session.id)
        assert users.list_sessions(user_id=user.id) == []

    def test_wrong_credentials(self, users: UserService) -> None:
        register(users)
        with pytest.raises(WrongCredentials):
            users.log_in(login="ada", password="wrong", client=HERE)
        assert not models.Session.objects.exists()

    def test_a_refresh_token_that_comes_twice_ends_the_session(self, users: UserService) -> None:
        user = register(users)
        first = users.log_in(login="ada", password=PASSWORD, client=HERE)
        second = users.refresh(refresh_token=first.refresh, client=HERE)
        assert users.authenticate(access_token=second.access).id == user.id
        with pytest.raises(InvalidToken):
            users.refresh(refresh_token=first.refresh, client=HERE)
        with pytest.raises(InvalidToken):
            users.authenticate(access_token=second.access)

    def test_a_new_password_ends_the_other_sessions(self, users: UserService) -> None:
        user = register(users)
        mine, other = (users.log_in(login="ada", password=PASSWORD, client=HERE) for _ in range(2))
        session_id = users.authenticate(access_token=mine.access).session_id
        users.change_password(user_id=user.id, session_id=session_id, old=PASSWORD, new="another horse 9")
        assert users.authenticate(access_token=mine.access).id == user.id
        with pytest.raises(InvalidToken):
            users.authenticate(access_token=other.access)
        with pytest.raises(WrongCredentials) as wrong:
            users.change_password(user_id=user.id, session_id=None, old=PASSWORD, new="a third horse 9")
        assert problems_of(wrong.value) == [Problem("The old password is wrong.", "old_password")]
        with pytest.raises(WeakPassword):
            users.change_password(user_id=user.id, session_id=None, old="another horse 9", new="short")
        with pytest.raises(UserNotFound):
            users.change_password(user_id=uuid4(), session_id=None, old="", new="a third horse 9")

    def test_a_service_token_until_it_is_revoked(self, users: UserService) -> None:
        issued = service_tokens.issue(
            name="warehouse", scopes=[Scope.STOCK_WRITE, Scope.PRODUCTS_READ], lifetime=timedelta(days=1)
        )
        scopes = frozenset({Scope.STOCK_WRITE, Scope.PRODUCTS_READ})
        identity = users.identify_caller(token=issued.text)
        assert identity.caller == ServiceAccount(id=issued.id, name="warehouse", scopes=scopes)
        with pytest.raises(InvalidToken):
            users.authenticate(access_token=issued.text)
        service_tokens.revoke(issued.id)
        with pytest.raises(InvalidToken):
            users.identify_caller(token=issued.text)


class TestProving:
    def test_an_address_is_verified_once_by_what_was_mailed_there(self, users: UserService) -> None:
        user = register(users)
        users.request_verification(user_id=user.id)
        token = proofs.write(Purpose.VERIFY, models.User.objects.get())
        assert users.verify_email(token=token).email_verified
        assert users.get_user(user_id=user.id).email_verified
        with pytest.raises(InvalidLink) as used:
            users.verify_email(token=token)
        assert [problem.attr for problem in problems_of(used.value)] == ["token"]
        with pytest.raises(AlreadyVerified):
            users.request_verification(user_id=user.id)
        with pytest.raises(UserNotFound):
            users.request_verification(user_id=uuid4())

    def test_a_password_is_reset_once_by_what_was_mailed(self, users: UserService) -> None:
        register(users)
        pair = users.log_in(login="ada", password=PASSWORD, client=HERE)
        users.request_password_reset(email="ada@example.com")
        users.request_password_reset(email="nobody@example.com")
        token = proofs.write(Purpose.RESET, models.User.objects.get())
        with pytest.raises(WeakPassword):
            users.reset_password(token=token, password="short")
        users.reset_password(token=token, password="another horse 9")
        with pytest.raises(InvalidLink):
            users.reset_password(token=token, password="a third horse 9")
        with pytest.raises(InvalidToken):
            users.authenticate(access_token=pair.access)
        users.log_in(login="ada", password="another horse 9", client=HERE)

    def test_too_many_failures_close_an_account_until_it_is_unlocked(
        self, users: UserService, settings: Settings
    ) -> None:
        settings.LOCK_ACCOUNT_AFTER = 1
        user = register(users)
        for password in ("wrong", PASSWORD):
            with pytest.raises(WrongCredentials):
                users.log_in(login="ada", password=password, client=HERE)
        users.unlock_user(user_id=user.id)
        assert users.log_in(login="ada", password=PASSWORD, client=HERE).user == user
        with pytest.raises(UserNotFound):
            users.unlock_user(user_id=uuid4())

    def test_a_second_factor_is_asked_for_after_the_password(self, users: UserService) -> None:
        register(users)
        codes = turn_on(models.User.objects.get())
        with pytest.raises(WrongCredentials):
            users.log_in(login="ada", password="wrong", client=HERE, otp=codes[0])
        with pytest.raises(OtpRequired):
            users.log_in(login="ada", password=PASSWORD, client=HERE)
        users.log_in(login="ada", password=PASSWORD, client=HERE, otp=codes[0])
        with pytest.raises(OtpRequired):
            users.log_in(login="ada", password=PASSWORD, client=HERE, otp=codes[0])


class TestLeaving:
    def test_all_that_is_held_is_handed_out(self, users: UserService) -> None:
        user = register(users)
        users.log_in(login="ada", password=PASSWORD, client=HERE)
        data = users.export_user(user_id=user.id)
        assert data.user == user
        assert [(session.address, session.agent) for session in data.sessions] == [("192.0.2.7", "Firefox")]
        assert [(deed.action, deed.details) for deed in data.activities] == [
            ("user.logged_in", "Logged in from 192.0.2.7.")
        ]
        assert data.activities[0].happened_at == models.Activity.objects.get().happened_at
        with pytest.raises(UserNotFound):
            users.export_user(user_id=uuid4())

    def test_an_erased_account_is_nobodys(self, users: UserService) -> None:
        user = register(users)
        with pytest.raises(WrongCredentials) as wrong:
            users.erase_user(user_id=user.id, password="wrong")
        assert problems_of(wrong.value) == [Problem("The password is wrong.", "password")]
        users.erase_user(user_id=user.id, password=PASSWORD)
        with pytest.raises(UserNotFound):
            users.get_user(user_id=user.id)
        with pytest.raises(UserNotFound):
            users.erase_user(user_id=user.id, password=PASSWORD)
        register(users)  # the names are free again

    def test_the_last_admin_stays(self, users: UserService) -> None:
        user = register(users)
        users.manage_user(actor_id=uuid4(), user_id=user.id, role=Role.ADMIN)
        with pytest.raises(LastAdmin):
            users.erase_user(user_id=user.id, password=PASSWORD)
        with pytest.raises(LastAdmin):
            users.manage_user(actor_id=uuid4(), user_id=user.id, active=False)
        assert users.get_user(user_id=user.id).role is Role.ADMIN


def test_all_other_sessions_end(users: UserService) -> None:
    user = register(users)
    mine, other = (users.log_in(login="ada", password=PASSWORD, client=HERE) for _ in range(2))
    session_id = users.authenticate(access_token=mine.access).session_id
    assert users.end_other_sessions(user_id=user.id, session_id=session_id) == 1
    assert [session.id for session in users.list_sessions(user_id=user.id)] == [session_id]
    with pytest.raises(InvalidToken):
        users.authenticate(access_token=other.access)
    assert users.end_other_sessions(user_id=user.id, session_id=None) == 1
    assert users.list_sessions(user_id=user.id) == []


def test_one_event_adds_one_line_of_activity(users: UserService) -> None:
    user = register(users)
    line = ActivityLine(
        user_id=user.id,
        action="order.paid",
        details="Paid order 1.",
        happened_at=timezone.now(),
        event_id=uuid4(),
    )
    of_nobody = dataclasses.replace(line, user_id=uuid4(), event_id=uuid4())
    users.record_activities(lines=[line, of_nobody])
    users.record_activities(lines=[line])
    row = models.Activity.objects.get(event_id=line.event_id)
    assert ActivityLine(row.user_id, row.action, row.details, row.happened_at, row.event_id or uuid4()) == line
    assert models.Activity.objects.filter(action="order.paid").count() == 1


def test_a_remote_service_is_not_called_inside_a_transaction(users: UserService) -> None:
    if isinstance(users, LocalUserService):
        return
    user = UserFactory()
    with atomic("users"), pytest.raises(CalledInTransaction):
        users.get_user(user_id=user.pk)
