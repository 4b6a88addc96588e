"""The shop's web server alone, as `manage.py serve` starts it: `python -m bench.web`."""

import os

import django

if __name__ == "__main__":
    django.setup()
    from apps.common.management.commands.serve import processes

    (web,) = (process for process in processes() if process.name == "web")
    os.execv(web.command[0], list(web.command))  # noqa: S606 - a command of ours
