"""The WSGI entry point that the web server loads."""

import os

from django.core.wsgi import get_wsgi_application

from apps.common import stopping
from config import telemetry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")
stopping.listen()
application = get_wsgi_application()
# In each web process: the server loads this file after it has forked.
telemetry.start()
