#!/usr/bin/env python
"""Command-line entry point: `python manage.py help` lists what the shop can do."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"cartwright: {error}")


if __name__ == "__main__":
    main()
