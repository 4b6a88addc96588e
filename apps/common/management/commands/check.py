"""`manage.py check`: Django's own, which also looks at every database unless told which."""

from pathlib import Path
from typing import Any

from django.core.management.commands.check import Command as DjangoCommand
from django.db import connections

from apps.common.databases import every_alias


class Command(DjangoCommand):
    def handle(self, *app_labels: Any, **options: Any) -> None:  # noqa: ANN401 - as in Django
        options["databases"] = options["databases"] or [alias for alias in every_alias() if _exists(alias)]
        super().handle(*app_labels, **options)


def _exists(alias: str) -> bool:
    """SQLite would make the file that it is asked about."""
    connection = connections[alias]
    return connection.vendor != "sqlite" or Path(connection.settings_dict["NAME"]).exists()
