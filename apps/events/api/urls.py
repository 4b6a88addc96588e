"""Addresses below `/api/v1/webhooks/`."""

from django.urls import path

from apps.events.api import views

urlpatterns = [
    path("endpoints", views.EndpointsView.as_view()),
    path("endpoints/<uuid:endpoint_id>", views.EndpointView.as_view()),
    path("endpoints/<uuid:endpoint_id>/rotate-secret", views.RotateView.as_view()),
    path("endpoints/<uuid:endpoint_id>/test", views.SendTestView.as_view()),
    path("endpoints/<uuid:endpoint_id>/deliveries", views.DeliveriesView.as_view()),
    path("endpoints/<uuid:endpoint_id>/deliveries/<uuid:delivery_id>/replay", views.ReplayView.as_view()),
]
