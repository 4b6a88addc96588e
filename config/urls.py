"""Every address of the shop."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config import views

urlpatterns = [
    # First, for what is asked for most: patterns are tried one after the other.
    path("api/v1/", include("apps.products.api.urls")),
    path("", views.landing, name="landing"),
    path("health", views.health, name="health"),
    path("ready", views.ready, name="ready"),
    path("admin/", admin.site.urls),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("", include("apps.users.api.well_known")),
    path("api/v1/users", include("apps.users.api.urls")),
    path("api/v1/", include("apps.orders.api.urls")),
    path("api/v1/webhooks/", include("apps.events.api.urls")),
    path("api/auth/login/", views.LogInView.as_view()),
    path("api/auth/", include("rest_framework.urls")),
    path("api/schema/", views.only_read(SpectacularAPIView.as_view()), name="schema"),
    path("api/docs/", views.only_read(SpectacularSwaggerView.as_view(url_name="schema")), name="docs"),
    path("api/docs", RedirectView.as_view(pattern_name="docs")),
    re_path(r"^media/(?P<path>.*)$", views.media, name="media"),
    re_path("", views.no_such_address),
]
handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.server_error
