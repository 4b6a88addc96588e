"""`manage.py restore FOLDER`: a shop from what `manage.py backup` has copied."""

from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from apps.common.backups import folder as backups
from apps.common.backups.store import CannotCopy


class Command(BaseCommand):
    help = "Read a back-up into empty databases, and compare the number of rows. `manage.py audit` proves the rest."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: object, folder: Path, **options: object) -> None:
        try:
            counts = backups.restore(folder.absolute())
        except CannotCopy as error:
            raise CommandError(str(error)) from error
        rows = sum(sum(tables.values()) for tables in counts.values())
        self.stdout.write(f"{len(counts)} databases restored, {rows} rows. Now: manage.py migrate_all, manage.py audit")
