"""`manage.py grpc`: answer gRPC calls for the services of this process, until told to stop."""

import signal
import threading

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.common import stopping
from config import grpc as composition
from config import telemetry
from grpc_api.servers.server import AddressTaken, reporting

# Calls that were accepted are answered within that; the supervisor waits a little longer.
_GRACE_SECONDS = 20


class Command(BaseCommand):
    help = "Serve the services of this profile over gRPC on GRPC_PORT."

    def handle(self, *args: object, **options: object) -> None:
        told = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: told.set())
        stopping.listen()
        telemetry.start()
        try:
            made = composition.make()
        except AddressTaken as error:
            raise CommandError(
                f"Nothing can listen on {settings.BIND}:{settings.GRPC_PORT}. Set GRPC_PORT or BIND, or stop what "
                "listens there."
            ) from error
        made.server.start()
        self.stdout.write(f"gRPC on {settings.BIND}:{made.port}")
        with reporting(made.health, composition.ready):
            told.wait()
        # Streams end by themselves, as the process is stopping; whoever still waits after that is cut off.
        made.server.stop(_GRACE_SECONDS).wait()
