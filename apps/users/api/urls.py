"""Addresses below `/api/v1/users`."""

from django.urls import path

from apps.users.api import views

urlpatterns = [
    path("", views.UsersView.as_view()),
    path("/register", views.RegisterView.as_view()),
    path("/login", views.LoginView.as_view()),
    path("/token/refresh", views.RefreshView.as_view()),
    path("/logout", views.LogoutView.as_view()),
    path("/profile", views.ProfileView.as_view()),
    path("/profile/export", views.ExportView.as_view()),
    path("/email/verify", views.VerifyView.as_view()),
    path("/email/verify/request", views.VerifyRequestView.as_view()),
    path("/sessions", views.SessionsView.as_view()),
    path("/sessions/<uuid:session_id>", views.SessionView.as_view()),
    path("/activity", views.ActivityView.as_view()),
    path("/password/change", views.PasswordChangeView.as_view()),
    path("/password/reset", views.PasswordResetView.as_view()),
    path("/password/reset/confirm", views.PasswordResetConfirmView.as_view()),
    path("/<uuid:user_id>", views.UserView.as_view()),
]
