"""Settings shared by every profile. Everything that differs between installations is an environment variable:
docs/configuration.md lists them. A profile beside this file says in a few lines what one process runs."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
from celery.schedules import crontab
from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue

from apps.common.money import is_currency
from apps.common.schedules import Every
from config import databases, env, keys, profiles, staff_site

# Generic classes of Django, such as ModelAdmin[Order], can be written at run time.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parents[2]
DATA_DIR = env.folder("DATA_DIR", BASE_DIR / "var")

# Which services run in this process.
PROFILE = profiles.current()

# --- Development or production -------------------------------------------------------------------

DEBUG = env.flag("DEBUG", default=True)
_DEVELOPMENT_SECRET = "development-only-secret-key-never-used-in-production"  # noqa: S105 - refused below
SECRET_KEY = env.text("SECRET_KEY", _DEVELOPMENT_SECRET)
# Earlier ones: what was signed or encrypted with them is still read.
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", "*")
CORS_ALLOWED_ORIGINS = env.origins("CORS_ALLOWED_ORIGINS")

if not DEBUG:
    if SECRET_KEY == _DEVELOPMENT_SECRET or len(SECRET_KEY) < 32:  # noqa: PLR2004 - 192 bits, in base64
        raise ImproperlyConfigured(
            "SECRET_KEY must be set to a random text of at least 32 characters when DEBUG is off."
        )
    if "*" in ALLOWED_HOSTS:
        raise ImproperlyConfigured("ALLOWED_HOSTS must name the shop's host names, not *, when DEBUG is off.")

# --- What runs -----------------------------------------------------------------------------------

# Django's own apps refer to the user, so they are where users are.
_PAGES_APPS = [
    *("unfold", "unfold.contrib.filters"),
    *("django.contrib.admin", "django.contrib.sessions", "django.contrib.messages"),
    "apps.storefront",
]
_ACCOUNTS_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
INSTALLED_APPS = [
    *(_PAGES_APPS if PROFILE.has_pages else []),
    *(_ACCOUNTS_APPS if PROFILE.runs("users") else []),
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "django_filters",
    "django_guid",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "apps.common",
    "apps.events",
    *(f"apps.{service}" for service in PROFILE.services),
    "grpc_api",
]

_PAGES_MIDDLEWARE = [
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
# First what sees every answer: what notes and counts them, and what puts headers on each, also on those that refuse.
MIDDLEWARE = [
    "config.access_log.AccessLog",
    "config.metrics.CountRequests",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django_guid.middleware.guid_middleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Before whoever may answer without reading the body.
    "apps.common.middleware.RequestGuard",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.rate_limits.RateLimits",
    *(["django.contrib.sessions.middleware.SessionMiddleware"] if PROFILE.has_pages else []),
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    *(_PAGES_MIDDLEWARE if PROFILE.has_pages else []),
    *(["config.middleware.PageLanguage"] if PROFILE.has_pages else []),
    "config.middleware.ErrorAnswers",
    # What else django-prometheus counts costs a seventh of what a process can answer.
    *(["django_prometheus.middleware.PrometheusAfterMiddleware"] if env.flag("DJANGO_METRICS", default=False) else []),
]

ROOT_URLCONF = PROFILE.urls
WSGI_APPLICATION = "config.wsgi.application"
_PAGES_CONTEXT = [
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # What the shop's own folder has comes first.
        "DIRS": [*env.existing_folders("TEMPLATES_DIR"), BASE_DIR / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                *(_PAGES_CONTEXT if PROFILE.has_pages else []),
            ],
            # Not found by itself: without the staff pages there is no log, and mail could not be written.
            "libraries": {"staff_log": "apps.common.staff_log_tags"} if PROFILE.has_pages else {},
        },
    }
]
SILENCED_SYSTEM_CHECKS = [
    "auth.W004",  # usernames are unique, ignoring case: by a constraint, which this check does not see
    "models.W027",  # MongoDB keeps no CHECK: the service refuses what one would
    "models.W042",  # Django's big integers are meant where a table has no id of its own
    "security.W004",  # HTTPS, its redirect and HSTS are the business of the proxy in front
    "security.W008",
]
TIME_ZONE = "UTC"
USE_TZ = True
# Languages of pages for people; the API speaks English (config.middleware.PageLanguage).
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "config" / "locale"]
LANGUAGE_COOKIE_SAMESITE = "Lax"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False

# --- Addresses (`manage.py serve`) ---------------------------------------------------------------

# A development shop has log-ins that everybody knows: only this machine may reach it, unless BIND says otherwise.
BIND = env.address("BIND", "127.0.0.1" if DEBUG else "0.0.0.0")  # noqa: S104 - a container is reached from outside
PORT = env.integer("PORT", PROFILE.port, low=1, high=65535)
GRPC_PORT = env.integer("GRPC_PORT", PROFILE.grpc_port, low=1, high=65535)
if GRPC_PORT == PORT:
    raise ImproperlyConfigured("GRPC_PORT and PORT must differ.")
# How long requests are still answered after SIGTERM, while /ready says that they are to go elsewhere.
DRAIN_SECONDS = env.integer("DRAIN_SECONDS", 0, low=0, high=600)
# How many calls are answered at once, besides streams.
GRPC_THREADS = env.integer("GRPC_THREADS", 16, low=1, high=256)
# How long another service is waited for.
GRPC_DEADLINE = env.duration("GRPC_DEADLINE", "2s")
# PEM files: who this process is, as a server and to servers; whom it believes; whether its callers must show the same.
GRPC_TLS_CERTIFICATE = env.file("GRPC_TLS_CERTIFICATE")
GRPC_TLS_KEY = env.file("GRPC_TLS_KEY")
GRPC_TLS_AUTHORITY = env.file("GRPC_TLS_AUTHORITY")
GRPC_TLS_MUTUAL = env.flag("GRPC_TLS_MUTUAL", default=False)
if bool(GRPC_TLS_CERTIFICATE) != bool(GRPC_TLS_KEY):
    raise ImproperlyConfigured("GRPC_TLS_CERTIFICATE and GRPC_TLS_KEY must be set together.")
if GRPC_TLS_MUTUAL and not (GRPC_TLS_CERTIFICATE and GRPC_TLS_AUTHORITY):
    raise ImproperlyConfigured("GRPC_TLS_MUTUAL needs GRPC_TLS_CERTIFICATE, GRPC_TLS_KEY and GRPC_TLS_AUTHORITY.")

# --- Other services ------------------------------------------------------------------------------

# Where a service is that does not run in this process. The staff pages work on every service's data in process.
PEERS: dict[str, str] = {}
if PROFILE.name != "admin":
    PEERS = {
        service: address
        for service in profiles.SERVICES
        if service != PROFILE.name and (address := env.peer(f"{service.upper()}_GRPC"))
    }
for _service in profiles.SERVICES:
    if not PROFILE.runs(_service) and _service not in PEERS:
        raise ImproperlyConfigured(
            f"{_service.upper()}_GRPC must be set, to host:port of the {_service} service, for the profile "
            f"{PROFILE.name}."
        )
# With what this process shows itself to them: `manage.py issue_service_token`, in the users service, makes it.
# Commands do without, the one that makes it among them; `serve` and whatever calls another service do not.
SERVICE_TOKEN = env.text("SERVICE_TOKEN") or env.content("SERVICE_TOKEN_FILE")

# --- Stores --------------------------------------------------------------------------------------

DATABASES, SERVICE_DATABASES, CATALOGUE_DATABASE = databases.from_environment(DATA_DIR, PROFILE)
DATABASE_ROUTERS = ["config.databases.ServiceRouter"]

REDIS_URL = env.url("REDIS_URL", ("redis", "rediss", "unix"))
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "cartwright",
            # The cache is an accelerator: when Redis is away, every answer comes from the database.
            "OPTIONS": {
                "IGNORE_EXCEPTIONS": True,
                "SOCKET_CONNECT_TIMEOUT": 1,
                "SOCKET_TIMEOUT": 1,
                "CONNECTION_POOL_CLASS": "apps.common.redis_pool.CautiousPool",
            },
        }
    }
    DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 50_000},
        }
    }

# Whether what one process caches is seen, and forgotten, by all.
SHARED_CACHE = bool(REDIS_URL)
# Without Redis each process remembers by itself who is logged in to the staff pages, and how often somebody has called.
WEB_WORKERS = env.integer("WEB_WORKERS", 2 if REDIS_URL else 1, low=1, high=64)
if WEB_WORKERS > 1 and not REDIS_URL:
    raise ImproperlyConfigured("WEB_WORKERS above 1 needs REDIS_URL: web processes share sessions through Redis.")
# More than processors: who places an order while others do shares one transaction with them.
WEB_THREADS = env.integer("WEB_THREADS", 8, low=1, high=256)
# Each stream of events has a thread of its own besides, in each web process. Under load these work too, and then each
# has a connection to each database: hence no more of them.
EVENT_STREAMS = env.integer("EVENT_STREAMS", 8, low=1, high=256)

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "config" / "static"]
# Found where the packages keep them: no collectstatic is needed, neither here nor in a container.
WHITENOISE_USE_FINDERS = True
# Uploaded files: in a folder, or in a bucket where everybody can read them.
MEDIA_ROOT = DATA_DIR / "media"
_BUCKET, MEDIA_URL = env.bucket("MEDIA_STORAGE_URL") or ({}, "/media/")
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "apps.common.storages.Bucket", "OPTIONS": _BUCKET}
    if _BUCKET
    else {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# What scripts of other origins may send and see, besides what every one may.
CORS_ALLOW_HEADERS = [*default_headers, "idempotency-key", "if-match", "if-none-match", "last-event-id"]
CORS_EXPOSE_HEADERS = ["ETag", "Idempotent-Replayed", "Link", "Location", "Retry-After", "X-Request-ID"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
# Where a file may be sent, which may be larger than any other request: pictures and lists of products.
UPLOAD_PATHS = r"/api/v1/products/([^/]+/images|import)|/admin/products/product/.+"
MAX_UPLOAD_BYTES = env.integer("MAX_UPLOAD_MB", 10, low=1, high=1024) * 1024 * 1024
# A picture may be in a message.
GRPC_MESSAGE_BYTES = MAX_UPLOAD_BYTES + 1024 * 1024
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SESSION_COOKIE_HTTPONLY = True
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.integer("TRUSTED_PROXIES", 0, low=0, high=9) else None
)

# --- Accounts ------------------------------------------------------------------------------------

AUTH_USER_MODEL = "users.User"
AUTHENTICATION_BACKENDS = ["apps.users.backends.EmailOrUsernameBackend"]
PASSWORD_HASHERS = [
    # Argon2id with OWASP's parameters: a fifth of the time and memory of Django's defaults.
    "apps.users.hashers.OwaspArgon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("username", "email", "first_name", "last_name"), "max_similarity": 1.0},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
]
if env.choice("PASSWORD_POLICY", ("basic", "strict"), "basic") == "strict":
    AUTH_PASSWORD_VALIDATORS += [
        {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
        {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    ]
# So many failed log-ins within that time close an account, or a network, until it is over.
LOCK_ACCOUNT_AFTER = env.integer("LOCK_ACCOUNT_AFTER", 10, low=1, high=1_000_000)
LOCK_ADDRESS_AFTER = env.integer("LOCK_ADDRESS_AFTER", 100, low=1, high=1_000_000)
LOCK_FOR = env.duration("LOCK_FOR", "15m")
# How long what was mailed is good, where its links lead, and how many of a kind an account is mailed in an hour.
EMAIL_VERIFY_WITHIN = env.duration("EMAIL_VERIFY_WITHIN", "3d")
PASSWORD_RESET_WITHIN = env.duration("PASSWORD_RESET_WITHIN", "1h")
_SHOP = "http://localhost:8080" if DEBUG else f"https://{ALLOWED_HOSTS[0].lstrip('.')}"
EMAIL_VERIFY_PAGE = env.page("EMAIL_VERIFY_PAGE", f"{_SHOP}/shop/verify?token={{token}}")
PASSWORD_RESET_PAGE = env.page("PASSWORD_RESET_PAGE", f"{_SHOP}/shop/reset?token={{token}}")
ACCOUNT_MAILS_AN_HOUR = 5
UNFOLD = staff_site.UNFOLD
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/"
JWT_PRIVATE_KEY = ""
JWT_PUBLIC_KEYS: list[str] = []
if PROFILE.runs("users"):
    JWT_PRIVATE_KEY, JWT_PUBLIC_KEYS = keys.from_environment(DATA_DIR, development=DEBUG)
JWT_ISSUER = env.text("JWT_ISSUER", "cartwright")
JWT_AUDIENCE = env.text("JWT_AUDIENCE", "cartwright")
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": env.duration("JWT_EXPIRES_IN", "15m"),
    "REFRESH_TOKEN_LIFETIME": env.duration("JWT_REFRESH_IN", "7d"),
}

# --- Shop ----------------------------------------------------------------------------------------

CURRENCY = env.text("CURRENCY", "USD").upper()
if not is_currency(CURRENCY):
    raise ImproperlyConfigured(f"CURRENCY must be an ISO 4217 code such as USD, not {CURRENCY!r}.")
RESERVATION_TTL = env.duration("RESERVATION_TTL", "30m")
LOW_STOCK_THRESHOLD = env.integer("LOW_STOCK_THRESHOLD", 5, low=0, high=1_000_000)
# Shipping method → its price per currency; an empty table is free in every currency.
SHIPPING_METHODS: dict[str, dict[str, str]] = {
    "standard": {},
    "pickup": {},
    "express": {"USD": "15.00", "EUR": "14.00", "GBP": "12.00"},
}
PAYMENT_PROVIDERS = {
    "sandbox": "apps.orders.payments.sandbox.SandboxProvider",
    "stripe": "apps.orders.payments.stripe.StripeProvider",
}
PAYMENT_PROVIDER = env.choice("PAYMENT_PROVIDER", PAYMENT_PROVIDERS, "sandbox")
# With which the sandbox's messages are signed; by default a secret that follows from SECRET_KEY.
PAYMENT_WEBHOOK_SECRET = env.signing_secret("PAYMENT_WEBHOOK_SECRET")
STRIPE_API_BASE = env.url("STRIPE_API_BASE", ("https", "http"))
STRIPE_SECRET_KEY = STRIPE_WEBHOOK_SECRET = ""
if PAYMENT_PROVIDER == "stripe":
    STRIPE_SECRET_KEY = env.needed("STRIPE_SECRET_KEY", "for PAYMENT_PROVIDER=stripe")
    STRIPE_WEBHOOK_SECRET = env.needed("STRIPE_WEBHOOK_SECRET", "for PAYMENT_PROVIDER=stripe")

# --- REST ----------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "config.authentication.BearerAuthentication",
        *(["rest_framework.authentication.SessionAuthentication"] if PROFILE.has_pages else []),
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": [
        "apps.common.api.renderers.JSONRenderer",
        "apps.common.api.browsable.BrowsableAPIRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["apps.common.api.parsers.StrictJSONParser", "rest_framework.parsers.FormParser"],
    "DEFAULT_PAGINATION_CLASS": "apps.common.api.paging.PagePagination",
    "DEFAULT_SCHEMA_CLASS": "apps.common.api.schema.AutoSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    # How many proxies of ours stand in front; 0 believes no X-Forwarded-For.
    "NUM_PROXIES": env.integer("TRUSTED_PROXIES", 0, low=0, high=9),
    "UNAUTHENTICATED_USER": "apps.common.api.permissions.Nobody",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
# Limit → how often, in windows that begin with the first request; config/rate_limits.py says what counts.
RATE_LIMITS = {
    "address": env.rates("RATE_LIMIT_ADDRESS", "6000/minute"),
    "user": env.rates("RATE_LIMIT_USER", "1200/minute"),
    "credentials": env.rates("RATE_LIMIT_CREDENTIALS", "300/minute"),
    "mails": env.rates("RATE_LIMIT_MAILS", "5/hour"),
    "payments": env.rates("RATE_LIMIT_PAYMENTS", "60/minute"),
    "search": env.rates("RATE_LIMIT_SEARCH", "120/minute"),
}
if not env.flag("RATE_LIMITS", default=True):
    RATE_LIMITS = {}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "apps.common.api.errors.ExceptionHandler",
    "EXCEPTION_FORMATTER_CLASS": "apps.common.api.errors.Formatter",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
    "NESTED_FIELD_SEPARATOR": ".",
}
_ENUMS = {
    "OrderStatusEnum": "apps.orders.interface.OrderStatus",
    "PaymentStatusEnum": "apps.orders.interface.PaymentStatus",
    "RoleEnum": "apps.users.interface.Role",
    "EndpointStateEnum": "apps.events.models.WebhookEndpoint.State",
    "DeliveryStateEnum": "apps.events.models.WebhookDelivery.State",
    "ImportStateEnum": "apps.products.models.ImportJob.State",
    "ErrorTypeEnum": "apps.common.api.schema.ERROR_TYPES",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Cartwright",
    "DESCRIPTION": (
        "Accounts, catalogue and orders of a headless shop. To try calls that need somebody: execute `POST "
        "/users/login`, copy `access` from its answer, press *Authorize* and paste it. In development, "
        "`customer@example.com` buys and `admin@example.com` does everything, with the password `cartwright-demo`. "
        "[What each error code means, and what to do](/api/problems/)."
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": True, "displayRequestDuration": True},
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        name: path for name, path in _ENUMS.items() if path.split(".")[1] in {*PROFILE.services, "common", "events"}
    },
}
DJANGO_GUID = {
    "GUID_HEADER_NAME": "X-Request-ID",
    "RETURN_HEADER": True,
    "EXPOSE_HEADER": False,  # it would replace what CORS_EXPOSE_HEADERS says
    "VALIDATE_GUID": True,
    "UUID_LENGTH": 32,
}

# --- Events --------------------------------------------------------------------------------------

# Event type → the tasks that hear of it: the whole flow on one screen.
EVENT_SUBSCRIBERS: dict[str, list[str]] = {
    "user.registered": ["users.log_activity", "users.mail_owner"],
    "user.updated": ["users.log_activity", "users.mail_owner"],
    "user.deactivated": ["users.log_activity"],
    "user.deleted": ["orders.forget_customer"],
    "verification.requested": ["users.mail_owner"],
    "password_reset.requested": ["users.mail_owner"],
    "product.created": [],
    "product.updated": [],
    "product.deleted": [],
    "stock.changed": [],
    "stock.low": ["products.mail_staff"],
    "reservation.lost": ["orders.cancel_unfulfillable"],
    "import.requested": ["products.run_import"],
    "order.created": ["users.log_activity", "orders.mail_customer", "orders.count_sales"],
    "order.updated": ["users.log_activity", "orders.count_sales"],
    "order.paid": [
        "products.settle_reservation",
        "products.count_sales",
        "users.log_activity",
        "orders.mail_customer",
        "orders.count_sales",
    ],
    "order.shipped": ["users.log_activity", "orders.mail_customer", "orders.count_sales"],
    "order.delivered": ["users.log_activity", "orders.mail_customer", "orders.count_sales"],
    "order.cancelled": [
        "products.settle_reservation",
        "users.log_activity",
        "orders.mail_customer",
        "orders.count_sales",
    ],
    "order.expired": [
        "products.settle_reservation",
        "users.log_activity",
        "orders.mail_customer",
        "orders.count_sales",
    ],
    "order.refunded": [
        "products.settle_reservation",
        "users.log_activity",
        "orders.mail_customer",
        "orders.count_sales",
    ],
    "payment.failed": ["users.log_activity"],
    "refund.completed": [
        "products.settle_reservation",
        "users.log_activity",
        "orders.mail_customer",
        "orders.count_sales",
    ],
    "refund.failed": ["users.log_activity"],
    "webhook.stopped": ["orders.mail_webhook_owner"],
}
# Of no interest, or no concern, to anybody outside.
INTERNAL_EVENTS = {"import.requested", "webhook.stopped", "verification.requested", "password_reset.requested"}

# They wait for other systems, or have much to do: they have a worker of their own. Without a broker the relay runs them
# itself, and lets all others go first.
SLOW_SUBSCRIBERS = {
    "orders.mail_customer",
    "orders.mail_webhook_owner",
    "products.mail_staff",
    "products.run_import",
    "users.mail_owner",
}

# Systems that get every event, as CloudEvents: docs/events.md.
EVENTS_AMQP_URL = env.url("EVENTS_AMQP_URL", ("amqp", "amqps"))
EVENTS_AMQP_EXCHANGE = env.text("EVENTS_AMQP_EXCHANGE", "cartwright.events")
EVENTS_REDIS_URL = env.url("EVENTS_REDIS_URL", ("redis", "rediss", "unix"))
EVENTS_REDIS_STREAM = env.text("EVENTS_REDIS_STREAM", "cartwright:events")
EVENTS_REDIS_LENGTH = env.integer("EVENTS_REDIS_LENGTH", 100_000, low=1000, high=100_000_000)
# Whose database has webhooks' endpoints and deliveries. This is no choice, as orders also has their staff pages and
# writes to their owners; but `apps.events` knows no service, so it is told here.
WEBHOOKS_SERVICE = "orders"
WEBHOOK_ALLOW_HTTP = env.flag("WEBHOOK_ALLOW_HTTP", default=DEBUG)
WEBHOOK_ALLOWED_NETWORKS = env.networks("WEBHOOK_ALLOWED_NETWORKS")

BROKER_URL = env.url("BROKER_URL", ("redis", "rediss", "amqp", "amqps"))
if len(PROFILE.services) < len(profiles.SERVICES) and not BROKER_URL:
    raise ImproperlyConfigured(
        f"BROKER_URL must be set for the profile {PROFILE.name}: services hear of each other's events over it."
    )
# How one service reaches another's inbox and webhooks.
EVENT_SERVICES = "config.services.events"
CELERY_BROKER_URL = BROKER_URL or "memory://localhost/"
CELERY_TASK_ALWAYS_EAGER = not BROKER_URL
CELERY_TASK_EAGER_PROPAGATES = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_ACKS_ON_TIMEOUT = False
CELERY_TASK_TIME_LIMIT = 60
CELERY_TASK_SOFT_TIME_LIMIT = 45
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# By default as many as there are processors: a container sees all of its machine's, however few it may use.
CELERY_WORKER_CONCURRENCY = env.integer("WORKER_PROCESSES", os.cpu_count() or 1, low=1, high=256)
CELERY_WORKER_CONSUMER = "apps.events.dead_letters.Consumer"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Nobody talks to a worker, and of two on hosts of one name RabbitMQ would refuse the second its queue for that.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
# A task that has begun is finished when the broker goes away: half a mail could only be sent twice.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
# Why these: docs/decisions/0010-brokers.md. A worker waits for its broker for ever; a publisher gives up at once.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_HEARTBEAT = 20
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {
        # What a worker had when it was killed goes to another after so many seconds: more than any task may take.
        "visibility_timeout": 90,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 2,
        "socket_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
    if BROKER_URL.startswith("redis")
    else {"confirm_publish": True}
)
# Shops that share a broker keep their queues apart by a prefix.
QUEUE_PREFIX = env.text("QUEUE_PREFIX")
# Periodic work of a service by itself is for its own workers.
CELERY_TASK_DEFAULT_QUEUE = f"{QUEUE_PREFIX}housekeeping{f'-{PROFILE.name}' if PROFILE.is_split else ''}"
DEAD_LETTERS = f"{QUEUE_PREFIX}dead-letters"
# Each service's own queue, and that of its slow subscribers.
QUEUES = {service: f"{QUEUE_PREFIX}{service}" for service in profiles.SERVICES}
SLOW_QUEUES = {service: f"{QUEUE_PREFIX}{service}-slow" for service in profiles.SERVICES}
CELERY_TASK_QUEUES = [
    Queue(
        name,
        Exchange(name),
        routing_key=name,
        queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD_LETTERS},
    )
    for name in (*QUEUES.values(), *SLOW_QUEUES.values(), CELERY_TASK_DEFAULT_QUEUE)
]
CELERY_TASK_ROUTES = {
    **{task: {"queue": SLOW_QUEUES[task.partition(".")[0]]} for task in SLOW_SUBSCRIBERS},
    **{f"{service}.*": {"queue": queue} for service, queue in QUEUES.items()},
}
_SECONDS_BETWEEN = {
    "orders.expire_orders": 15,
    "orders.settle_open_orders": 10,
    "products.release_orphaned_reservations": 60,
    "products.announce_products": 10,
    "events.retry_failed_deliveries": 10,
    "events.confirm_deliveries": 60,
}
# Runs that nobody takes up do not pile up for ever. The sender's clock says when, and the worker's may be an hour off.
_RUN_EXPIRES = 2 * 60 * 60
_SCHEDULE: dict[str, dict[str, Any]] = {
    **{
        task: {"task": task, "schedule": Every(seconds), "options": {"expires": _RUN_EXPIRES}}
        for task, seconds in _SECONDS_BETWEEN.items()
    },
    "cool-popular-products": {"task": "products.cool_popular", "schedule": crontab(minute=40)},
    "clean-events": {"task": "events.clean", "schedule": crontab(hour=3, minute=10)},
    "clean-webhooks": {"task": "events.clean_webhooks", "schedule": crontab(hour=3, minute=15)},
    "clean-imports": {"task": "products.clean_imports", "schedule": crontab(hour=3, minute=25)},
    "clean-pictures": {"task": "products.clean_pictures", "schedule": crontab(hour=3, minute=50)},
    "clean-idempotency-keys": {"task": "common.clean_idempotency_keys", "schedule": crontab(minute=20)},
    "clear-forgotten": {"task": "orders.clear_forgotten", "schedule": crontab(minute=30)},
    "clean-log-ins": {"task": "users.clean_failed_log_ins", "schedule": crontab(minute=50)},
    "clean-sessions": {"task": "users.clean_sessions", "schedule": crontab(hour=3, minute=40)},
}
_TASKS_OF = {*PROFILE.services, "events", "common"}
CELERY_BEAT_SCHEDULE = {name: entry for name, entry in _SCHEDULE.items() if entry["task"].split(".")[0] in _TASKS_OF}
if not PROFILE.runs(WEBHOOKS_SERVICE):
    del CELERY_BEAT_SCHEDULE["clean-webhooks"]

# --- Operations ----------------------------------------------------------------------------------

# Each entry is a list of rules; `manage.py audit` runs them all.
AUDIT_RULES = [
    *(f"apps.{service}.audit.RULES" for service in PROFILE.services),
    "apps.events.audit.RULES",
]
# Modules that count for `/metrics`, and what is read from stores for it: docs/metrics.md.
METRICS = [
    *("apps.common.metrics", "apps.events.metrics", "grpc_api.metrics"),
    *(f"apps.{service}.metrics" for service in PROFILE.services),
]
# The staff pages look into the stores of others, who tell of them themselves.
_HAVE_READINGS = ["events", *(service for service in PROFILE.services if service != "users")]
METRIC_READINGS = [
    "config.connections.READINGS",
    *(f"apps.{app}.readings.READINGS" for app in _HAVE_READINGS if PROFILE.does_work),
]
# What stores something encrypted: `manage.py reencrypt` has each write it anew.
REENCRYPTERS = [
    *(["apps.users.second_factor.reencrypt"] if PROFILE.runs("users") else []),
    *(["apps.events.webhooks.endpoints.reencrypt"] if PROFILE.runs(WEBHOOKS_SERVICE) else []),
]
# The table that every change writes to which another service hears of: a back-up holds it still for a moment.
OUTBOX = "events_outboxevent"
# What fills the demo shop: `manage.py seed_demo` runs them in this order.
DEMO_SEEDERS = {
    "users": "apps.users.seed.DemoCustomers",
    "products": "apps.products.seed.DemoCatalogue",
    "orders": "apps.orders.seed.DemoOrders",
}

vars().update(env.email("EMAIL_URL", "consolemail://"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "shop@example.com")
STAFF_EMAIL = env.text("STAFF_EMAIL", "staff@example.com")
# What mail to customers is signed with.
SHOP_NAME = env.text("SHOP_NAME", "Cartwright")
SHOP_ADDRESS = env.text("SHOP_ADDRESS")
SUPPORT_EMAIL = env.text("SUPPORT_EMAIL")
# Where the demo storefront finds the REST API; in this process if it is not set.
STOREFRONT_API = env.url("STOREFRONT_API", ("http", "https"))

# Where traces go; without it there are none. Names and meanings are OpenTelemetry's own.
OTLP_ENDPOINT = env.collector("OTEL_EXPORTER_OTLP_ENDPOINT")
OTLP_PROTOCOL = env.choice(
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    ("grpc", "http/protobuf"),
    "http/protobuf" if urlsplit(OTLP_ENDPOINT).port == 4318 else "grpc",  # noqa: PLR2004 - the port says it
)
# Of the requests that bring no decision of somebody before us.
TRACES_RATIO = env.ratio("OTEL_TRACES_SAMPLER_ARG", 1.0)
OTLP_SERVICE_NAME = env.text("OTEL_SERVICE_NAME", f"cartwright-{PROFILE.name}" if PROFILE.is_split else "cartwright")

LOG_LEVEL = env.choice("LOG_LEVEL", ("debug", "info", "warning", "error"), "info").upper()
LOG_FORMAT = env.choice("LOG_FORMAT", ("console", "json"), "console" if DEBUG else "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "console": {"()": "apps.common.logs.readable_lines"},
        "json": {"()": "apps.common.logs.json_lines"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": []},  # Django's own would print a second time what reaches the root
        "django.request": {"level": "ERROR"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "django_guid": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},  # a line for each call of the storefront
        "opentelemetry.exporter": {"level": "CRITICAL"},  # config/spans.py says once what it says each time
        "opentelemetry.sdk._shared_internal": {"level": "ERROR"},  # as above: a line for spans that find no place
        "stripe": {"level": "WARNING"},  # below, it would print what customers pay with
    },
}
