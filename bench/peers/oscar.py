"""django-oscar with django-oscar-api, in an environment of its own: a project that is made for the run, served as this
shop is, by granian with as many processes and threads, on PostgreSQL with connections that are kept.

The API's own way is taken: the products into the basket, then the checkout, which allocates stock and asks for no
payment.
"""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from bench.peers.scenario import MOST_BUYERS, Peer, Session, wanted

_PASSWORD = "correct horse 9"  # noqa: S105 - of a shop that is removed
_READY_SECONDS = 60

_SETTINGS = """
import os

from oscar.defaults import *

SECRET_KEY = os.environ["SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
SITE_ID = 1
USE_TZ = True
STATIC_URL = "/static/"
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.staticfiles", "django.contrib.sites", "django.contrib.flatpages",
    "oscar.config.Shop", "oscar.apps.analytics.apps.AnalyticsConfig", "oscar.apps.checkout.apps.CheckoutConfig",
    "oscar.apps.address.apps.AddressConfig", "oscar.apps.shipping.apps.ShippingConfig",
    "oscar.apps.catalogue.apps.CatalogueConfig", "oscar.apps.catalogue.reviews.apps.CatalogueReviewsConfig",
    "oscar.apps.communication.apps.CommunicationConfig", "oscar.apps.partner.apps.PartnerConfig",
    "oscar.apps.basket.apps.BasketConfig", "oscar.apps.payment.apps.PaymentConfig",
    "oscar.apps.offer.apps.OfferConfig", "oscar.apps.order.apps.OrderConfig",
    "oscar.apps.customer.apps.CustomerConfig", "oscar.apps.search.apps.SearchConfig",
    "oscar.apps.voucher.apps.VoucherConfig", "oscar.apps.wishlists.apps.WishlistsConfig",
    "oscar.apps.dashboard.apps.DashboardConfig", "oscar.apps.dashboard.reports.apps.ReportsDashboardConfig",
    "oscar.apps.dashboard.users.apps.UsersDashboardConfig", "oscar.apps.dashboard.orders.apps.OrdersDashboardConfig",
    "oscar.apps.dashboard.catalogue.apps.CatalogueDashboardConfig",
    "oscar.apps.dashboard.offers.apps.OffersDashboardConfig",
    "oscar.apps.dashboard.partners.apps.PartnersDashboardConfig",
    "oscar.apps.dashboard.pages.apps.PagesDashboardConfig", "oscar.apps.dashboard.ranges.apps.RangesDashboardConfig",
    "oscar.apps.dashboard.reviews.apps.ReviewsDashboardConfig",
    "oscar.apps.dashboard.vouchers.apps.VouchersDashboardConfig",
    "oscar.apps.dashboard.communications.apps.CommunicationsDashboardConfig",
    "oscar.apps.dashboard.shipping.apps.ShippingDashboardConfig",
    "widget_tweaks", "haystack", "treebeard", "sorl.thumbnail", "easy_thumbnails", "django_tables2",
    "rest_framework", "oscarapi",
]
INSTALLED_APPS = [app for app in INSTALLED_APPS if __import__("importlib.util").util.find_spec(app.split(".")[0])]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware", "django.contrib.messages.middleware.MessageMiddleware",
    "oscar.apps.basket.middleware.BasketMiddleware",
]
AUTHENTICATION_BACKENDS = ["oscar.apps.customer.auth_backends.EmailBackend"]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages", "oscar.apps.search.context_processors.search_form",
        "oscar.apps.checkout.context_processors.checkout", "oscar.core.context_processors.metadata",
    ]},
}]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", **__import__("json").loads(os.environ["DATABASE"]),
    "CONN_MAX_AGE": None, "ATOMIC_REQUESTS": False,
}}
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
OSCAR_INITIAL_ORDER_STATUS = "Pending"
OSCAR_INITIAL_LINE_STATUS = "Pending"
OSCAR_ORDER_STATUS_PIPELINE = {"Pending": ()}
LOGGING_CONFIG = None
"""
_URLS = """
from django.apps import apps
from django.urls import include, path

urlpatterns = [path("api/", include("oscarapi.urls")), path("", include(apps.get_app_config("oscar").urls[0]))]
"""
_WSGI = """
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
"""
# Arguments: what is told as JSON; prints as JSON the ids of the products that it made.
_PREPARE = """
import json, sys
import django

django.setup()
from django.contrib.auth import get_user_model
from oscar.apps.partner.models import Partner, StockRecord
from oscar.apps.catalogue.models import Product, ProductClass
from oscar.apps.address.models import Country

told = json.loads(sys.argv[1])
Country.objects.get_or_create(iso_3166_1_a2="NL", defaults={"name": "Netherlands", "is_shipping_country": True})
kind, _ = ProductClass.objects.get_or_create(name="Lamp", defaults={"requires_shipping": False, "track_stock": True})
partner, _ = Partner.objects.get_or_create(name="Us")
made = []
for number in range(told["products"]):
    product = Product.objects.create(title="Lamp", product_class=kind, structure=Product.STANDALONE)
    StockRecord.objects.create(
        product=product, partner=partner, partner_sku=f"LAMP-{product.pk}", price=10, num_in_stock=told["stock"]
    )
    made.append(str(product.pk))
User = get_user_model()
for number in range(told["buyers"]):
    User.objects.create_user(f"buyer{number}", f"buyer{number}@example.com", told["password"])
print(json.dumps(made))
"""
_ADDRESS = {
    "first_name": "Ada",
    "last_name": "Buyer",
    "line1": "Somewhere 1",
    "line4": "Amsterdam",
    "postcode": "1011AA",
}


class Oscar(Peer):
    name = "django-oscar"

    def __init__(self, url: str, products: Sequence[str], scarce: Sequence[str]) -> None:
        self.url, self.products = url, products
        self._scarce = iter(scarce)

    def log_in(self, number: int) -> Session:
        session = Session(self.url)
        account = {"username": f"buyer{number}@example.com", "password": _PASSWORD}
        wanted(session.call("POST", "/api/login/", account), 200)
        session.headers |= {"X-CSRFToken": session.cookies["csrftoken"], "Referer": self.url}
        return session

    def look(self, session: Session, product: str) -> None:
        wanted(session.call("GET", f"/api/products/{product}/"), 200)

    def order(self, session: Session, products: Sequence[str]) -> bool:
        basket = ""
        for product in products:
            line = {"url": f"{self.url}/api/products/{product}/", "quantity": 1}
            answer = session.call("POST", "/api/basket/add-product/", line)
            basket = wanted(answer, 200, 406).get("url", "")
            if answer[0] == HTTPStatus.NOT_ACCEPTABLE:
                return False
        address = {**_ADDRESS, "country": f"{self.url}/api/countries/NL/"}
        answer = session.call("POST", "/api/checkout/", {"basket": basket, "shipping_address": address})
        wanted(answer, 200, 406)
        return answer[0] == HTTPStatus.OK

    def scarce(self) -> str:
        return next(self._scarce)


@contextmanager
def opened(
    python: str, folder: Path, database: Mapping[str, str], port: int, *, products: int, stock: int, scarce: int
) -> Iterator[Oscar]:
    """The shop of the environment that has this Python, in a database of its own.

    Raises:
        RuntimeError: the project cannot be made, or does not start; it says why.
    """
    for name, text in {"settings.py": _SETTINGS, "urls.py": _URLS, "wsgi.py": _WSGI, "prepare.py": _PREPARE}.items():
        (folder / name).write_text(text)
    environment = {
        "DJANGO_SETTINGS_MODULE": "settings",
        "SECRET_KEY": secrets.token_hex(32),
        "DATABASE": json.dumps(dict(database)),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(folder),
    }
    told = {"products": products, "stock": stock, "buyers": MOST_BUYERS, "password": _PASSWORD}
    _run([python, "-m", "django", "migrate", "--verbosity=0"], folder, environment)
    made = json.loads(_run([python, "prepare.py", json.dumps(told)], folder, environment))
    last = {**told, "products": scarce, "stock": 1, "buyers": 0}
    few = json.loads(_run([python, "prepare.py", json.dumps(last)], folder, environment))
    options = ["--interface=wsgi", "--host=127.0.0.1", f"--port={port}", "--workers=2", "--blocking-threads=16"]
    command = [python, "-m", "granian", *options, "--no-ws", "--log-level=warning", "wsgi:application"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        shop = Oscar(f"http://127.0.0.1:{port}", made, few)
        _wait(shop, folder / "log")
        yield shop
    finally:
        process.terminate()
        process.wait(timeout=30)


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:3])} of django-oscar failed: {done.stderr[-2000:]}")
    return done.stdout


def _wait(shop: Oscar, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        session = Session(shop.url)
        try:
            shop.look(session, shop.products[0])
        except OSError:
            time.sleep(0.2)
        else:
            return
        finally:
            session.close()
    raise RuntimeError(f"django-oscar does not answer:\n{log.read_text()[-2000:]}")
