"""`manage.py audit`: prove on live data that stock, orders, payments and events agree."""

from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import islice

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from apps.common.audit import Rule


class Command(BaseCommand):
    help = "Check every invariant on live data; exits 1 when one is violated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--show", type=int, default=10, help="how many violations of a rule to print (10)")

    def handle(self, *args: object, show: int, **options: object) -> None:
        broken = 0
        for rule in _rules():
            violations = list(rule.violations())
            broken += len(violations)
            verdict = self.style.ERROR(f"{len(violations)} VIOLATED") if violations else self.style.SUCCESS("ok")
            self.stdout.write(f"{rule.name:<72} {rule.checked():>9} checked  {verdict}")
            for sentence in islice(violations, show):
                self.stdout.write(f"    {sentence}")
        if broken:
            raise CommandError(f"{broken} violations. docs/audit.md says what each rule means and what to do.")


def _rules() -> Iterator[Rule]:
    for path in settings.AUDIT_RULES:
        yield from import_string(path)
