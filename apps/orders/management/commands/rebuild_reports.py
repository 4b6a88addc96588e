"""`manage.py rebuild_reports`: count every order anew for the reports, or prove that they agree with the orders."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from apps.orders.models import Order
from apps.orders.reports.rebuilding import differences, rebuild


class Command(BaseCommand):
    help = (
        "Count every order anew for the reports. The shop goes on meanwhile; until it is done, reports lack the orders "
        "that are still to be counted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="change nothing; name each sum that is not what the orders add up to, and exit 1 if there is one",
        )

    def handle(self, *args: object, check: bool, **options: object) -> None:
        if check:
            self._check()
            return
        with tqdm(total=Order.objects.count(), desc="orders", unit="", disable=None) as bar:
            counted = rebuild(bar.update)
        self.stdout.write(f"Counted {counted} orders.")

    def _check(self) -> None:
        found = 0
        for found, sentence in enumerate(differences(), start=1):  # noqa: B007 - counts them
            self.stdout.write(sentence)
        if found:
            raise CommandError(f"{found} differences. `manage.py rebuild_reports` counts everything anew.")
        self.stdout.write("The reports agree with the orders.")
