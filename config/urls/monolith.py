"""Every address of the shop. A service by itself has those in the file of its name."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from config import pages
from config.urls import orders, products, shared, users
from config.urls.shared import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

urlpatterns = [
    # First, for what is asked for most: patterns are tried one after the other.
    *products.ADDRESSES,
    path("", pages.landing, name="landing"),
    *shared.OPERATIONS,
    path("admin/second-factor/", include("apps.users.staff_urls")),
    path("admin/", admin.site.urls),
    path("language/", include("django.conf.urls.i18n")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("shop/", include("apps.storefront.urls")),
    path("shop", RedirectView.as_view(pattern_name="storefront:home")),
    *users.ADDRESSES,
    *orders.ADDRESSES,
    path("api/auth/login/", pages.LogInView.as_view()),
    path("api/auth/", include("rest_framework.urls")),
    *shared.DOCUMENTS,
    path("api/problems/", pages.error_codes, name="problems"),
    *shared.MEDIA,
    *shared.NOTHING,
]
