"""What a servicer may know of the call that it answers, besides the message."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from uuid import UUID

import grpc
from django.db import Error as DatabaseTrouble
from django_guid import get_guid

from apps.common.errors import Unauthenticated, Unavailable
from apps.users.interface import Caller, Principal, Role, ServiceAccount
from grpc_api.metadata import REQUEST_ID_KEY

_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
_ask_again: ContextVar[Callable[[], object]] = ContextVar("ask_again", default=lambda: None)


def caller() -> Caller:
    """Who is asking.

    Raises:
        Unauthenticated: nobody has said.
    """
    found = _caller.get()
    if found is None:
        raise Unauthenticated("Authentication credentials were not provided.")
    return found


@contextmanager
def made_by(who: Caller, ask_again: Callable[[], object]) -> Iterator[None]:
    """The call is this caller's, as long as `ask_again` does not raise."""
    token, check = _caller.set(who), _ask_again.set(ask_again)
    try:
        yield
    finally:
        _caller.reset(token)
        _ask_again.reset(check)


def check_again() -> None:
    """For calls that go on for long.

    Raises:
        Unauthenticated: the caller's token is good no longer.
    """
    # Where nobody can say, the token was good, and it ends by itself.
    with suppress(Unavailable, DatabaseTrouble):
        _ask_again.get()()


def open_stream(context: grpc.ServicerContext) -> None:
    """Tell the caller that messages will follow, whenever that is."""
    context.send_initial_metadata(((REQUEST_ID_KEY, get_guid()),))


def may_see_user(user_id: UUID) -> bool:
    """Whether an account is the caller's to see: their own, or any, for staff and other systems."""
    who = caller()
    return isinstance(who, ServiceAccount) or who.role != Role.USER or who.id == user_id


def person() -> Principal | None:
    """The caller, if that is a person."""
    who = caller()
    return who if isinstance(who, Principal) else None
