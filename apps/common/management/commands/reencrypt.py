"""`manage.py reencrypt`: store under the present SECRET_KEY what is stored under earlier ones."""

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils.module_loading import import_string


class Command(BaseCommand):
    help = "Encrypt stored secrets under the present SECRET_KEY, so that SECRET_KEY_FALLBACKS can go."

    def handle(self, *args: object, **options: object) -> None:
        done = sum(import_string(path)() for path in settings.REENCRYPTERS)
        self.stdout.write(f"{done} secrets are stored under the present SECRET_KEY")
