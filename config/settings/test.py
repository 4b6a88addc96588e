"""The suite: everything in one process, without rate limits, with a cheap password hash."""

from config.settings.base import *  # noqa: F403 - a profile is the base with what differs

DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
RATE_LIMITS = {}
WHITENOISE_AUTOREFRESH = True
MEDIA_ROOT = DATA_DIR / "test-media"  # noqa: F405 - from the base
WEBHOOK_ALLOW_HTTP = False
