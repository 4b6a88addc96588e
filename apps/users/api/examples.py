"""Examples for the OpenAPI document."""

from drf_spectacular.utils import OpenApiExample

_USER = {
    "id": "019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d10",
    "username": "testuser",
    "email": "test@example.com",
    "first_name": "Test",
    "last_name": "User",
    "phone": "",
    "address": "",
    "role": "user",
    "active": True,
    "email_verified": False,
    "created_at": "2026-01-02T03:04:05.678901Z",
    "updated_at": "2026-01-02T03:04:05.678901Z",
}
_PASSWORD = "password123"  # noqa: S105 - an example

REGISTER = OpenApiExample(
    "Register",
    {"username": "testuser", "email": "test@example.com", "password": _PASSWORD},
    request_only=True,
)
USER = OpenApiExample("A user", _USER, response_only=True)
LOGIN = OpenApiExample("Log in", {"email": "test@example.com", "password": _PASSWORD}, request_only=True)
REFRESH = OpenApiExample("Refresh", {"refresh": "eyJhbGciOi…"}, request_only=True)
TOKEN_PAIR = OpenApiExample(
    "A pair of tokens",
    {"access": "eyJhbGciOi…", "refresh": "eyJhbGciOi…", "token_type": "Bearer", "expires_in": 900, "user": _USER},
    response_only=True,
)
PROFILE = OpenApiExample(
    "A profile",
    {"username": "testuser", "email": "test@example.com", "first_name": "Test", "last_name": "User"},
    request_only=True,
)
PASSWORD_CHANGE = OpenApiExample(
    "Change the password", {"old_password": _PASSWORD, "new_password": "correct horse 9"}, request_only=True
)
MANAGE = OpenApiExample("Promote", {"role": "catalog_staff"}, request_only=True)
