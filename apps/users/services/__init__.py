"""The users service in this process."""

from apps.users.interface import UserService
from apps.users.services.accounts import Accounts
from apps.users.services.entering import Entering
from apps.users.services.leaving import Leaving
from apps.users.services.proving import Proving


class LocalUserService(Accounts, Entering, Proving, Leaving, UserService):
    """The users service on its own database."""
