"""`manage.py serve`: the whole shop as one tree of processes."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.common import draining
from apps.common.supervisor import Process, Supervisor

# What stops at the same time.
_ENTRANCE, _WORK = "entrance", "work"


class Command(BaseCommand):
    help = "Run the web server, the relay, periodic tasks and, with a BROKER_URL, a worker, until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="bring the databases up to date first")
        parser.add_argument(
            "--no-work", action="store_true", help="only answer requests; another `serve` of this profile does the rest"
        )

    def handle(self, *args: object, migrate: bool, no_work: bool, **options: object) -> None:
        if settings.PEERS and not settings.SERVICE_TOKEN:
            raise CommandError(
                "SERVICE_TOKEN must be set, so that other services answer this one: `manage.py issue_service_token` of "
                "the users service makes it."
            )
        if migrate:
            call_command("migrate_all")
        _check_port(settings.PORT, "PORT")
        if settings.PROFILE.does_work:
            _check_port(settings.GRPC_PORT, "GRPC_PORT")
        address = f"{settings.BIND}:{settings.PORT}"
        self.stdout.write(f"Serving on {address} (Ctrl-C stops)")
        _share_metrics()
        draining.prepare(settings.DATA_DIR)
        run = [each for each in processes() if each.stage == _ENTRANCE or not no_work]
        Supervisor(run, drain_seconds=settings.DRAIN_SECONDS).run()


def _check_port(port: int, variable: str) -> None:
    """Refuse a port that is taken: the web server would share it, and two shops would answer in turn.

    Raises:
        CommandError: somebody listens there, or we may not.
    """
    family = socket.AF_INET6 if ":" in settings.BIND else socket.AF_INET
    with socket.socket(family) as probe:
        # What has just stopped there may leave connections that are still closing; they do no harm.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.BIND, port))
        except OSError as error:
            raise CommandError(
                f"Nothing can listen on {settings.BIND}:{port}: {error.strerror}. Set {variable} or BIND, or stop "
                "what listens there."
            ) from error


def _share_metrics() -> None:
    """Have all processes count in one folder, so that `/metrics` of one tells of all. It starts empty."""
    folder = settings.DATA_DIR / "metrics" / settings.PROFILE.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def processes() -> Iterator[Process]:
    """In the order in which they stop: first nobody is let in, then the work that was begun is finished."""
    python = sys.executable
    yield Process("web", [python, "-m", "granian", *_web_options(), "config.wsgi:application"], stage=_ENTRANCE)
    if not settings.PROFILE.does_work:
        return
    yield Process("grpc", [python, "manage.py", "grpc"], stage=_ENTRANCE)
    celery = [python, "-m", "celery", "--quiet", "--app", "config"]
    if settings.BROKER_URL:
        options = ["--loglevel", settings.LOG_LEVEL, "--without-gossip", "--without-mingle"]
        services = settings.PROFILE.services
        queues = ",".join([*(settings.QUEUES[each] for each in services), settings.CELERY_TASK_DEFAULT_QUEUE])
        yield Process("worker", [*celery, "worker", "--queues", queues, *options], stage=_WORK)
        # Mails and imports, behind which no order's stock may wait.
        slow_queues = ",".join(settings.SLOW_QUEUES[each] for each in services)
        slow = ["--queues", slow_queues, "--concurrency=1", "--hostname=slow@%h"]
        yield Process("slow worker", [*celery, "worker", *slow, *options], stage=_WORK)
    yield Process("relay", [python, "manage.py", "relay"], stage=_WORK)
    schedule = str(settings.DATA_DIR / f"celerybeat-{settings.PROFILE.name}")
    beat = [*celery, "beat", "--schedule", schedule, "--pidfile=", "--loglevel", settings.LOG_LEVEL]
    yield Process("beat", beat, stage=_WORK)


def _web_options() -> list[str]:
    """WSGI by granian: measured at twice gunicorn's rate, and ASGI below both."""
    return [
        "--interface=wsgi",
        f"--host={settings.BIND}",
        f"--port={settings.PORT}",
        f"--workers={settings.WEB_WORKERS}",
        f"--blocking-threads={settings.WEB_THREADS + settings.EVENT_STREAMS}",
        "--no-ws",
        "--respawn-failed-workers",
        "--workers-kill-timeout=20",
        f"--log-level={settings.LOG_LEVEL.lower()}",
    ]
