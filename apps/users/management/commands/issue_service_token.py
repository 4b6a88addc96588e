"""`manage.py issue_service_token`: let another system call the shop over gRPC."""

from argparse import ArgumentParser
from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError

from apps.common.errors import InvalidInput
from apps.users import service_tokens
from apps.users.interface import Scope


class Command(BaseCommand):
    help = "Print a token for another system; it is shown once and cannot be printed again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        scopes = [str(scope) for scope in Scope]
        parser.add_argument("name", help="what the system is called, in lists and logs")
        parser.add_argument(
            "--scope",
            action="extend",
            nargs="+",
            choices=scopes,
            required=True,
            metavar="SCOPE",
            help=f"what it may do: {', '.join(scopes)}; may be given again",
        )
        parser.add_argument("--days", type=int, default=365, help="how long the token is good (365)")

        parser.add_argument("--replace", action="store_true", help="revoke the tokens that the name had before")

    def handle(self, *args: object, name: str, scope: list[str], days: int, replace: bool, **options: object) -> None:
        if not 1 <= days <= 3650:  # noqa: PLR2004 - ten years
            raise CommandError("--days must be between 1 and 3650.")
        before = [token for token in service_tokens.live() if token.name == name] if replace else []
        try:
            issued = service_tokens.issue(
                name=name, scopes=[Scope(each) for each in scope], lifetime=timedelta(days=days)
            )
        except InvalidInput as error:
            raise CommandError(str(error)) from error
        for token in before:
            service_tokens.revoke(token.pk)
        self.stderr.write(f"Token {issued.id} for {name}, good until {issued.expires_at:%Y-%m-%d}:")
        self.stdout.write(issued.text)
