"""`manage.py list_service_tokens`: which other systems may call the shop over gRPC."""

from django.core.management.base import BaseCommand

from apps.users import service_tokens


class Command(BaseCommand):
    help = "List the service tokens that are good: id, name, expiry and scopes."

    def handle(self, *args: object, **options: object) -> None:
        for token in service_tokens.live():
            self.stdout.write(f"{token.pk}  {token.name:<24}  {token.expires_at:%Y-%m-%d}  {' '.join(token.scopes)}")
