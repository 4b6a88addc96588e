"""`manage.py backup FOLDER`: copy all stores of this shop, while it sells."""

from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from apps.common.backups import folder as backups
from apps.common.backups.store import CannotCopy


class Command(BaseCommand):
    help = "Copy every database, uploaded files and the development key to a new folder. The shop may go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: object, folder: Path, **options: object) -> None:
        try:
            counts = backups.make(folder.absolute())
        except CannotCopy as error:
            raise CommandError(str(error)) from error
        rows = sum(sum(tables.values()) for tables in counts.values())
        self.stdout.write(f"{folder}: {len(counts)} databases, {rows} rows")
