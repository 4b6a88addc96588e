"""The WSGI entry point that the web server loads."""

import os

from django.core.wsgi import get_wsgi_application

from apps.common import stopping

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")
stopping.listen()
application = get_wsgi_application()
