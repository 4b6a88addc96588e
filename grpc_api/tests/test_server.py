"""What every call to a server has around it, seen by a client without anything of ours."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from django.db import OperationalError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client import REGISTRY

from apps.users.interface import Client, Profile, Role, Scope, User
from apps.users.models import User as UserRow
from apps.users.services import LocalUserService
from apps.users.tests.factories import PASSWORD, UserFactory
from grpc_api.gen import user_pb2 as pb
from grpc_api.gen.user_pb2_grpc import UserServiceStub
from grpc_api.servers import server as servers
from grpc_api.servers.server import AddressTaken, Limits
from grpc_api.servers.users import SERVICE, hosted
from grpc_api.tests.running import MESSAGE_BYTES, bearer, channel_to, refusal, serving, token_for

pytestmark = pytest.mark.django_db(transaction=True)


class Users(LocalUserService):
    """The users service, with ways to fail and to wait."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.waits = False

    def get_user(self, *, user_id: UUID) -> User:
        self.entered.set()
        if self.waits:
            self.go_on.wait(timeout=10)
        if self.failure:
            raise self.failure
        return super().get_user(user_id=user_id)


@pytest.fixture
def users(transactional_db: None) -> Users:
    return Users()


@pytest.fixture
def channel(users: Users) -> Iterator[grpc.Channel]:
    with serving(hosted(users)) as address, channel_to(address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> UserServiceStub:
    return UserServiceStub(channel)


def access_token(user: UserRow) -> str:
    client = Client(address="", agent="")
    return LocalUserService().log_in(login=user.email, password=PASSWORD, client=client).access


def code_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str | None]:
    metadata: Any = error.trailing_metadata() or ()
    return error.code(), dict(metadata).get("error-code")


class TestWhoMayCall:
    def test_nobody_without_a_good_token(self, stub: UserServiceStub) -> None:
        user = UserFactory()
        request = pb.GetUserRequest(id=str(user.pk))
        for metadata in ((), (("authorization", "Basic YTpi"),), (("authorization", "Bearer "),)):
            error = refusal(partial(stub.GetUser, request, metadata=metadata))
            assert code_of(error) == (grpc.StatusCode.UNAUTHENTICATED, "not_authenticated")
        error = refusal(lambda: stub.GetUser(request, metadata=bearer("rubbish")))
        assert code_of(error) == (grpc.StatusCode.UNAUTHENTICATED, "invalid_token")

    def test_a_person_sees_their_own_account_and_staff_all(self, stub: UserServiceStub) -> None:
        ada, eve, staff = UserFactory(), UserFactory(), UserFactory(role=Role.ORDER_STAFF)
        own = stub.GetUser(pb.GetUserRequest(id=str(ada.pk)), metadata=bearer(access_token(ada)))
        assert (own.id, own.username, own.role, own.active) == (str(ada.pk), ada.username, "user", True)
        for call in (
            lambda: stub.GetUser(pb.GetUserRequest(id=str(eve.pk)), metadata=bearer(access_token(ada))),
            lambda: stub.GetUser(pb.GetUserRequest(id=str(uuid4())), metadata=bearer(access_token(ada))),
            lambda: stub.GetUserByEmail(pb.GetUserByEmailRequest(email=eve.email), metadata=bearer(access_token(ada))),
        ):
            error = refusal(call)
            assert code_of(error) == (grpc.StatusCode.NOT_FOUND, "user_not_found")
            assert error.details() == "There is no such user."
        assert stub.GetUser(pb.GetUserRequest(id=str(eve.pk)), metadata=bearer(access_token(staff))).email == eve.email

    def test_a_service_token_opens_what_its_scopes_name(self, stub: UserServiceStub) -> None:
        user = UserFactory()
        reading, other = token_for(Scope.USERS_READ), token_for(Scope.STOCK_WRITE)
        request = pb.GetUserRequest(id=str(user.pk))
        assert stub.GetUser(request, metadata=bearer(reading)).id == str(user.pk)
        assert code_of(refusal(lambda: stub.GetUser(request, metadata=bearer(other)))) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "permission_denied",
        )

    def test_writing_is_for_services_only(self, stub: UserServiceStub) -> None:
        admin = UserFactory(role=Role.ADMIN)
        request = pb.ManageUserRequest(actor_id=str(uuid4()), user_id=str(admin.pk), active=False)
        for token in (access_token(admin), token_for(Scope.USERS_READ)):
            error = refusal(partial(stub.ManageUser, request, metadata=bearer(token)))
            assert code_of(error) == (grpc.StatusCode.PERMISSION_DENIED, "permission_denied")
        admin.refresh_from_db()
        assert admin.active

    def test_whose_token_it_is_is_told_to_whoever_has_one(self, stub: UserServiceStub) -> None:
        user = UserFactory(role=Role.CATALOG_STAFF)
        token = access_token(user)
        for caller in (token, token_for(Scope.STOCK_WRITE)):
            answer = stub.ValidateToken(pb.ValidateTokenRequest(token=token), metadata=bearer(caller))
            assert (answer.valid, answer.user_id, answer.role) == (True, str(user.pk), "catalog_staff")
            no = stub.ValidateToken(pb.ValidateTokenRequest(token="rubbish"), metadata=bearer(caller))
            assert (no.valid, no.user_id, no.role) == (False, "", "")

    def test_a_session_that_has_ended_is_refused_at_once(self, stub: UserServiceStub) -> None:
        user = UserFactory()
        token = access_token(user)
        LocalUserService().log_out(
            user_id=user.pk, session_id=LocalUserService().authenticate(access_token=token).session_id
        )
        error = refusal(lambda: stub.GetUser(pb.GetUserRequest(id=str(user.pk)), metadata=bearer(token)))
        assert code_of(error) == (grpc.StatusCode.UNAUTHENTICATED, "invalid_token")


class TestErrors:
    def test_what_nobody_expected_is_told_nobody(
        self, users: Users, stub: UserServiceStub, caplog: pytest.LogCaptureFixture
    ) -> None:
        users.failure = RuntimeError("secret detail")
        error = refusal(lambda: stub.GetUser(pb.GetUserRequest(id=str(uuid4())), metadata=bearer(token_for())))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert error.details() == "Something went wrong on our side. It has been noted."
        assert "secret detail" in caplog.text

    def test_a_database_that_is_away_is_a_matter_of_time(self, users: Users, stub: UserServiceStub) -> None:
        users.failure = OperationalError("connection refused at 10.0.0.1")
        error = refusal(lambda: stub.GetUser(pb.GetUserRequest(id=str(uuid4())), metadata=bearer(token_for())))
        assert code_of(error) == (grpc.StatusCode.UNAVAILABLE, "database_unavailable")
        assert "10.0.0.1" not in str(error.details())

    @pytest.mark.parametrize("text", ["", "x", "a\0b", "'; DROP TABLE"])
    def test_an_id_that_is_none_is_named(self, stub: UserServiceStub, text: str) -> None:
        error = refusal(lambda: stub.GetUser(pb.GetUserRequest(id=text), metadata=bearer(token_for())))
        assert code_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid")

    def test_every_problem_is_told(self, stub: UserServiceStub) -> None:
        request = pb.RegisterRequest(username="", email="no address", password=PASSWORD)
        error = refusal(lambda: stub.Register(request, metadata=bearer(token_for())))
        assert code_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid")
        assert error.details() == "This field cannot be blank.; Enter a valid email address."
        assert not UserRow.objects.exists()

    def test_a_message_that_is_too_large_is_refused(self, stub: UserServiceStub) -> None:
        request = pb.RegisterRequest(username="a" * (MESSAGE_BYTES + 1))
        error = refusal(lambda: stub.Register(request, metadata=bearer(token_for())))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class TestAround:
    def test_a_call_has_the_id_that_its_caller_gave_it(self, stub: UserServiceStub) -> None:
        user, token = UserFactory(), token_for()
        request_id, trace = uuid4(), uuid4().hex

        def id_of(*more: tuple[str, str]) -> str:
            _, call = stub.GetUser.with_call(pb.GetUserRequest(id=str(user.pk)), metadata=(*bearer(token), *more))
            return str(dict(call.initial_metadata())["x-request-id"])

        assert id_of(("x-request-id", str(request_id))) == str(request_id)
        traced = ("traceparent", f"00-{trace}-00f067aa0ba902b7-01")
        assert id_of(traced) == trace
        assert id_of(traced, ("x-request-id", request_id.hex)) == request_id.hex
        assert UUID(id_of(("x-request-id", "rubbish"))).hex not in {request_id.hex, trace}

    def test_nothing_is_done_for_a_caller_that_waits_no_longer(self, users: Users, stub: UserServiceStub) -> None:
        users.waits = True
        user, metadata = UserFactory(), bearer(token_for())
        error = refusal(lambda: stub.GetUser(pb.GetUserRequest(id=str(user.pk)), metadata=metadata, timeout=0.3))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        users.go_on.set()

    def test_calls_are_counted_by_method_and_code(self, stub: UserServiceStub) -> None:
        def count(code: str) -> float:
            labels = {"grpc_service": SERVICE, "grpc_method": "GetUser", "grpc_code": code}
            return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0

        before = {code: count(code) for code in ("OK", "NOT_FOUND")}
        user, metadata = UserFactory(), bearer(token_for())
        stub.GetUser(pb.GetUserRequest(id=str(user.pk)), metadata=metadata)
        refusal(lambda: stub.GetUser(pb.GetUserRequest(id=str(uuid4())), metadata=metadata))
        assert {code: count(code) - before[code] for code in before} == {"OK": 1, "NOT_FOUND": 1}

    def test_the_services_describe_themselves(self, channel: grpc.Channel) -> None:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert sorted(database.get_services()) == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "user.UserService",
        ]
        described = database.FindFileContainingSymbol("user.UserService")
        fields = {
            message.name: {field.name: field.number for field in message.field} for message in described.message_type
        }
        assert fields["GetUserRequest"] == {"id": 1}
        assert fields["GetUserByEmailRequest"] == {"email": 1}
        assert fields["ValidateTokenRequest"] == {"token": 1}
        assert fields["ValidateTokenResponse"] == {"valid": 1, "user_id": 2, "role": 3}
        promised = ("id", "username", "email", "first_name", "last_name", "role", "active")
        assert {name: fields["GetUserResponse"][name] for name in promised} == {
            name: number for number, name in enumerate(promised, start=1)
        }

    def test_health_follows_what_is_ready_until_the_server_stops(self, users: Users) -> None:
        ready = {SERVICE: True, "product.ProductService": False}
        made = servers.make(
            "127.0.0.1:0",
            [hosted(users)],
            identify=lambda token: users.identify_caller(token=token),
            limits=Limits(threads=4, message_bytes=10_000),
        )
        made.server.start()

        with channel_to(f"127.0.0.1:{made.port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)

            def watch(service: str) -> Iterator[int]:
                stream = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=20)
                return (each.status for each in stream)

            states = health_pb2.HealthCheckResponse
            mine, whole = watch(SERVICE), watch("")
            assert next(mine) == states.SERVICE_UNKNOWN
            assert next(whole) in {states.SERVING, states.NOT_SERVING}
            with servers.reporting(made.health, lambda: ready):
                assert next(mine) == states.SERVING
                assert next(each for each in whole if each == states.NOT_SERVING)
            assert next(mine) == states.NOT_SERVING
        made.server.stop(None).wait()

    def test_a_port_that_is_taken(self, users: Users) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(AddressTaken):
                servers.make(
                    f"127.0.0.1:{taken.getsockname()[1]}",
                    [hosted(users)],
                    identify=lambda token: users.identify_caller(token=token),
                    limits=Limits(threads=1, message_bytes=1000),
                )


def test_a_registered_account_is_usable(stub: UserServiceStub) -> None:
    """What another system does in its first minute, with nothing but the contract's messages."""
    made = LocalUserService().register(
        username="ada", email="ada@example.com", password=PASSWORD, profile=Profile(first_name="Ada")
    )
    found = stub.GetUserByEmail(pb.GetUserByEmailRequest(email="Ada@Example.com"), metadata=bearer(token_for()))
    assert (found.id, found.first_name, found.role, found.active) == (str(made.id), "Ada", "user", True)


class TestStrangers:
    """Whoever reaches the port, without a token."""

    def test_streams_that_need_no_token_leave_places_for_other_calls(self, channel: grpc.Channel) -> None:
        health: Any = health_pb2_grpc.HealthStub(channel)
        reflections: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(service="no.such")) for _ in range(4)]
        assert [next(watch).status for watch in watches] == [health_pb2.HealthCheckResponse.SERVICE_UNKNOWN] * 4
        refused = health.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert refusal(lambda: next(refused)).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        reflection = reflections.ServerReflectionInfo(iter(()), timeout=10)
        assert refusal(lambda: next(reflection)).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for watch in watches:
            watch.cancel()
        for _ in range(1000):
            again = health.Watch(health_pb2.HealthCheckRequest(), timeout=10)
            with suppress(grpc.RpcError):
                assert next(again).status == health_pb2.HealthCheckResponse.SERVING
                break
        else:
            raise AssertionError("No place came back.")

    @pytest.mark.parametrize("content", [b"\x0a\x02\xff\xfe", b"\xff" * 20])
    def test_what_is_no_message_is_refused_and_not_our_fault(self, channel: grpc.Channel, content: bytes) -> None:
        call: Any = channel.unary_unary(f"/{SERVICE}/GetUser")
        error = refusal(lambda: call(content, metadata=bearer(token_for())))
        assert code_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid")
        error = refusal(lambda: call(content))
        assert code_of(error) == (grpc.StatusCode.UNAUTHENTICATED, "not_authenticated")
