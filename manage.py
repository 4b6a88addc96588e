#!/usr/bin/env python
"""Command-line entry point: `python manage.py help` lists what the shop can do."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError, ProgrammingError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"cartwright: {error}")
    except (OperationalError, ProgrammingError) as error:
        if "--traceback" in sys.argv:
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        sys.exit(f"cartwright: The database cannot be used: {reason}. Run manage.py migrate_all first.")


if __name__ == "__main__":
    main()
