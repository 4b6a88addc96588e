"""The Celery application: `celery -A config worker` or, with no BROKER_URL, tasks that run where they are sent."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")

app = Celery("cartwright")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
