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
LOGIN_WITH_CODE = OpenApiExample(
    "Log in with a second factor",
    {"email": "test@example.com", "password": _PASSWORD, "otp": "287082"},
    request_only=True,
)
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
VERIFY = OpenApiExample("Verify an address", {"token": "WyIwMTlh…"}, request_only=True)
RESET_REQUEST = OpenApiExample("Ask for a mail", {"email": "test@example.com"}, request_only=True)
RESET = OpenApiExample("Set a new password", {"token": "WyIwMTlh…", "password": "correct horse 9"}, request_only=True)
ERASE = OpenApiExample("Erase the account", {"password": _PASSWORD}, request_only=True)
_SESSION = {
    "id": "019aa9c2-7000-7e53-9a3f-0f3b2a9c1d11",
    "address": "192.0.2.7",
    "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "created_at": "2026-01-02T03:04:05.678901Z",
    "last_used_at": "2026-01-02T03:04:05.678901Z",
    "expires_at": "2026-01-09T03:04:05.678901Z",
    "device": "Firefox on Linux",
    "current": True,
}
USER_DATA = OpenApiExample(
    "All that is held",
    {
        "user": _USER,
        "sessions": [_SESSION],
        "activities": [
            {
                "action": "user.logged_in",
                "details": "Logged in from 192.0.2.7.",
                "happened_at": "2026-01-02T03:04:05.678901Z",
            }
        ],
        "orders": {"href": "https://shop.example.com/api/v1/orders?page_size=100"},
    },
    response_only=True,
)
