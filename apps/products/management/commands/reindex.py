"""`manage.py reindex`: bring the search index up to date."""

from django.core.management.base import BaseCommand

from apps.products.search import reindexing


class Command(BaseCommand):
    help = "Make missing indexes, and write anew what each product is found by; the shop goes on meanwhile."

    def handle(self, *args: object, **options: object) -> None:
        renewed = sum(reindexing.reindex())
        self.stdout.write(f"The search index is up to date: {renewed} products were found by old words.")
