"""`manage.py revoke_service_token`: have a service token refused."""

from argparse import ArgumentParser
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from apps.users import service_tokens


class Command(BaseCommand):
    help = "Revoke a service token by its id (list_service_tokens has it)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=UUID)

    def handle(self, *args: object, id: UUID, **options: object) -> None:  # noqa: A002 - the argument's name
        try:
            service_tokens.revoke(id)
        except service_tokens.UnknownServiceToken as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Token {id} is refused from now on.")
