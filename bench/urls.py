"""Every address of the shop, and those of the bare views."""

from django.urls import path

from bench import views
from config.urls import monolith
from config.urls.monolith import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

urlpatterns = [
    path("bench/products", views.page),
    path("bench/products/<uuid:product_id>", views.product),
    # Last: it ends with what answers to any address.
    *monolith.urlpatterns,
]
