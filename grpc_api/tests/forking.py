"""A program that calls the users service, forks as a worker of Celery's does, and has the child call it too.

It has no server in it, as no worker has: a fork leaves behind the threads of one, and whatever they were holding.
`python -m grpc_api.tests.forking ADDRESS TOKEN USER_ID` prints the id that the parent, the child and the parent got.
"""

import os
import signal
import sys
from uuid import UUID

import django

django.setup()

from grpc_api.clients.users import RemoteUserService  # noqa: E402 - settings come first
from grpc_api.tests.running import peer  # noqa: E402


def main(address: str, token: str, user_id: UUID) -> int:
    users = RemoteUserService(peer("users", address, token=token))
    _ask(users, user_id)
    child = os.fork()
    if child == 0:
        # A child that gets no answer is not left behind.
        signal.alarm(30)
        _ask(users, user_id)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    _ask(users, user_id)
    return status


def _ask(users: RemoteUserService, user_id: UUID) -> None:
    sys.stdout.write(f"{users.get_user(user_id=user_id).id}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], UUID(sys.argv[3])))
