"""Addresses that every process has: how it is, what it offers, and what is answered when there is nothing."""

from django.urls import path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config import metrics, views

OPERATIONS = [
    path("health", views.health, name="health"),
    path("accepting", views.accepting, name="accepting"),
    path("ready", views.ready, name="ready"),
    path("metrics", views.only_read(metrics.export), name="metrics"),
]
DOCUMENTS = [
    path("api/schema/", views.only_read(SpectacularAPIView.as_view()), name="schema"),
    path("api/docs/", views.only_read(SpectacularSwaggerView.as_view(url_name="schema")), name="docs"),
    path("api/docs", RedirectView.as_view(pattern_name="docs")),
]
MEDIA = [re_path(r"^media/(?P<path>.*)$", views.media, name="media")]
# The last: whatever nothing else has answered.
NOTHING = [re_path("", views.no_such_address)]

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.server_error
