"""The addresses of the products service."""

from django.urls import include, path

from config.urls import shared
from config.urls.shared import handler400, handler403, handler404, handler500

__all__ = ["ADDRESSES", "handler400", "handler403", "handler404", "handler500", "urlpatterns"]

ADDRESSES = [
    path("api/v1/", include("apps.products.api.urls")),
]
urlpatterns = [*ADDRESSES, *shared.OPERATIONS, *shared.DOCUMENTS, *shared.MEDIA, *shared.NOTHING]
