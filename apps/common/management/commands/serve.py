"""`manage.py serve`: the whole shop as one tree of processes."""

import sys
from collections.abc import Iterator

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from apps.common.supervisor import Process, Supervisor


class Command(BaseCommand):
    help = "Run the web server, the relay, periodic tasks and, with a BROKER_URL, a worker, until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="bring the databases up to date first")

    def handle(self, *args: object, migrate: bool, **options: object) -> None:
        if migrate:
            call_command("migrate_all")
        address = f"{settings.BIND}:{settings.PORT}"
        self.stdout.write(f"Serving on {address} (Ctrl-C stops)")
        Supervisor(list(processes())).run()


def processes() -> Iterator[Process]:
    """In the order in which they stop: first nobody is let in, then the work that was left is done."""
    python = sys.executable
    yield Process("web", [python, "-m", "granian", *_web_options(), "config.wsgi:application"])
    celery = [python, "-m", "celery", "--quiet", "--app", "config"]
    if settings.BROKER_URL:
        services = [f"{settings.QUEUE_PREFIX}{service}" for service in settings.SERVICE_DATABASES]
        queues = ",".join([*services, settings.CELERY_TASK_DEFAULT_QUEUE])
        options = ["--queues", queues, "--loglevel", settings.LOG_LEVEL, "--without-gossip", "--without-mingle"]
        yield Process("worker", [*celery, "worker", *options])
    yield Process("relay", [python, "manage.py", "relay"])
    schedule = str(settings.DATA_DIR / "celerybeat-schedule")
    yield Process("beat", [*celery, "beat", "--schedule", schedule, "--pidfile=", "--loglevel", settings.LOG_LEVEL])


def _web_options() -> list[str]:
    """WSGI by granian: measured at twice gunicorn's rate, and ASGI below both."""
    return [
        "--interface=wsgi",
        f"--host={settings.BIND}",
        f"--port={settings.PORT}",
        f"--workers={settings.WEB_WORKERS}",
        f"--blocking-threads={settings.WEB_THREADS}",
        "--no-ws",
        "--respawn-failed-workers",
        "--workers-kill-timeout=20",
        f"--log-level={settings.LOG_LEVEL.lower()}",
    ]
