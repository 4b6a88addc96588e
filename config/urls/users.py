"""The addresses of the users service."""

from django.urls import include, path

from config.urls import shared
from config.urls.shared import handler400, handler403, handler404, handler500

__all__ = ["ADDRESSES", "handler400", "handler403", "handler404", "handler500", "urlpatterns"]

ADDRESSES = [
    path("", include("apps.users.api.well_known")),
    path("api/v1/users", include("apps.users.api.urls")),
]
urlpatterns = [*ADDRESSES, *shared.OPERATIONS, *shared.DOCUMENTS, *shared.NOTHING]
