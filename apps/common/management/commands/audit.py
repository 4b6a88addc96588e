"""`manage.py audit`: prove on live data that stock, orders, payments and events agree."""

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import islice

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from apps.common.audit import Rule

_SECOND_LOOK = 0.5


class Command(BaseCommand):
    help = "Check every invariant on live data; exits 1 when one is violated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--show", type=int, default=10, help="how many violations of a rule to print (10)")

    def handle(self, *args: object, show: int, **options: object) -> None:
        broken = 0
        for rule in _rules():
            violations = _confirmed(rule)
            broken += len(violations)
            verdict = self.style.ERROR(f"{len(violations)} VIOLATED") if violations else self.style.SUCCESS("ok")
            self.stdout.write(f"{rule.name:<72} {rule.checked():>9} checked  {verdict}")
            for sentence in islice(violations, show):
                self.stdout.write(f"    {sentence}")
        if broken:
            raise CommandError(f"{broken} violations. docs/audit.md says what each rule means and what to do.")


def _confirmed(rule: Rule) -> list[str]:
    """The violations that are still there on a second look.

    A rule that reads two tables may see one before and the other after a change that is being made meanwhile.
    """
    suspects = {_row(sentence) for sentence in rule.violations()}
    if not suspects:
        return []
    time.sleep(_SECOND_LOOK)
    return [sentence for sentence in rule.violations() if _row(sentence) in suspects]


def _row(sentence: str) -> tuple[str, ...]:
    return tuple(word.rstrip(":,") for word in sentence.split(maxsplit=2)[:2])


def _rules() -> Iterator[Rule]:
    for path in settings.AUDIT_RULES:
        yield from import_string(path)
