"""Keys change, and nobody notices: not who is logged in, not staff in their browsers, nor who gets webhooks."""

import re
from io import StringIO
from pathlib import Path

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.management import call_command
from django.test import override_settings

from apps.events.webhooks import rows, signing
from apps.users import second_factor
from apps.users.models import SecondFactor
from apps.users.tests.factories import UserFactory
from tests.shop import PASSWORD, Client, Shop

OLD, NEW = "an old secret key of more than 32 characters", "a new secret key of more than 32 characters"


class Key:
    """A pair of keys as the variables take them."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        self.private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain).decode()
        self.public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


class Staff:
    """A browser."""

    def __init__(self, shop: Shop, name: str) -> None:
        self._url = f"{shop.url}/admin/"
        self._session = requests.Session()
        page = self._session.get(f"{self._url}login/", timeout=10).text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token is not None
        form = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        self._session.post(f"{self._url}login/", form, headers={"Referer": self._url}, timeout=10)

    def is_logged_in(self) -> bool:
        return self._session.get(self._url, timeout=10, allow_redirects=False).status_code == 200


def restart(shop: Shop, **variables: str) -> None:
    assert shop.stop() == 0
    shop.environment.update(variables)
    shop.start()


def kids(shop: Shop) -> list[str]:
    found = requests.get(f"{shop.url}/.well-known/jwks.json", timeout=10).json()
    return [key["kid"] for key in found["keys"]]


def status_with(shop: Shop, access: str) -> int:
    headers = {"Authorization": f"Bearer {access}"}
    return requests.get(f"{shop.url}/api/v1/users/profile", headers=headers, timeout=10).status_code


def refreshed(shop: Shop, refresh: str) -> dict[str, str]:
    response = Client(shop.url).post("/users/token/refresh", {"refresh": refresh})
    assert response.status_code == 200, response.text
    pair: dict[str, str] = response.json()
    return pair


@pytest.mark.e2e
@pytest.mark.once
def test_nobody_is_logged_out(tmp_path: Path) -> None:
    first, second = Key(), Key()
    shop = Shop(tmp_path, {"SECRET_KEY": OLD, "JWT_PRIVATE_KEY": first.private})
    shop.manage("migrate_all")
    try:
        shop.start()
        shop.admin()
        name = shop.environment["DJANGO_SUPERUSER_USERNAME"]
        login = {"email": f"{name}@example.com", "password": PASSWORD}
        before = Client(shop.url).post("/users/login", login).json()
        staff = Staff(shop, name)
        assert staff.is_logged_in()
        (first_kid,) = kids(shop)

        restart(
            shop,
            JWT_PRIVATE_KEY=second.private,
            JWT_PUBLIC_KEYS=first.public,
            SECRET_KEY=NEW,
            SECRET_KEY_FALLBACKS=OLD,
        )
        second_kid, *others = kids(shop)
        assert others == [first_kid]
        assert status_with(shop, before["access"]) == 200
        after = refreshed(shop, before["refresh"])
        assert [jwt.get_unverified_header(after[kind])["kid"] for kind in ("access", "refresh")] == [second_kid] * 2
        assert staff.is_logged_in()
        shop.manage("reencrypt")

        restart(shop, JWT_PUBLIC_KEYS="", SECRET_KEY_FALLBACKS="")
        assert kids(shop) == [second_kid]
        assert status_with(shop, before["access"]) == 401
        assert status_with(shop, after["access"]) == 200
        assert status_with(shop, refreshed(shop, after["refresh"])["access"]) == 200
        assert staff.is_logged_in()
    finally:
        shop.kill()


@pytest.mark.django_db
def test_what_is_encrypted_is_read_without_the_old_key() -> None:
    with override_settings(SECRET_KEY=OLD):
        user = UserFactory()
        enrolled = second_factor.begin(user).secret
        secret, old_secret = signing.new_secret(), signing.new_secret()
        rows.endpoints().create(
            url="https://example.com/hook", secret=signing.encrypt(secret), old_secret=signing.encrypt(old_secret)
        )
    with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=[OLD]):
        said = StringIO()
        call_command("reencrypt", stdout=said)
    assert said.getvalue() == "2 secrets are stored under the present SECRET_KEY\n"
    with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=[]):
        assert second_factor.secret_of(SecondFactor.objects.get(user=user)) == enrolled
        row = rows.endpoints().get()
        assert [signing._decrypt(stored) for stored in (row.secret, row.old_secret)] == [secret, old_secret]


@pytest.mark.django_db
def test_what_nobody_can_read_stays_as_it_is() -> None:
    with override_settings(SECRET_KEY=OLD):
        second_factor.begin(UserFactory())
    before = SecondFactor.objects.get().secret
    with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=[]):
        assert second_factor.reencrypt() == 0
    assert SecondFactor.objects.get().secret == before
