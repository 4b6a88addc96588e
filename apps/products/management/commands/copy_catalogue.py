"""`manage.py copy_catalogue`: move products and categories between the relational database and MongoDB."""

from argparse import ArgumentParser

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.common.databases import alias_of
from apps.products import copying
from apps.products.models import Category, Product

_STORES = ("relational", "mongodb")


class Command(BaseCommand):
    help = (
        "Copy products and categories into the other store, then compare the two. It can be run again after having "
        "been cut off, and while the shop goes on: then once more when the shop has stopped."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="source", choices=_STORES, required=True)
        parser.add_argument("--to", dest="target", choices=_STORES, required=True)

    def handle(self, *args: object, source: str, target: str, **options: object) -> None:
        if source == target:
            raise CommandError("--from and --to are the same store: there is nothing to copy.")
        if alias_of("products") == settings.CATALOGUE_DATABASE:
            raise CommandError("Set MONGODB_URL: it names the MongoDB that the catalogue is copied from or to.")
        aliases = {"relational": alias_of("products"), "mongodb": settings.CATALOGUE_DATABASE}
        try:
            written = sum(copying.copy(aliases[source], aliases[target]))
        except copying.Unannounced as error:
            raise CommandError(
                f"Changes in {source} are still to be announced. Let the shop run for a minute, with its beat."
            ) from error
        self.stdout.write(f"{written} documents written.")
        for model in (Category, Product):
            before, after = (copying.contents(model, aliases[store]) for store in (source, target))
            if before != after:
                raise CommandError(
                    f"The stores differ: {before.count} {model._meta.verbose_name_plural} in {source}, {after.count} "
                    f"in {target}. The catalogue has changed meanwhile, or {target} has a life of its own: stop the "
                    "shop and run this again."
                )
            self.stdout.write(f"{after.count} {model._meta.verbose_name_plural}, SHA-256 {after.checksum}")
