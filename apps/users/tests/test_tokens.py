"""Tokens: what is in them, and everything that must be refused."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from apps.users import tokens
from apps.users.interface import InvalidToken, Principal, Role

USER = UUID("019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d10")
SESSION = UUID("019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d11")
REFRESH = UUID("019aa9c2-6a51-7e53-9a3f-0f3b2a9c1d12")
CLAIMS = tokens.RefreshClaims(user_id=USER, session_id=SESSION, refresh_id=REFRESH)


def _forget() -> None:
    for cached in (tokens._backend, tokens._public_keys, tokens._verified):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_keys() -> Iterator[None]:
    _forget()
    yield
    _forget()


def _access() -> str:
    return tokens.write_access(user_id=USER, role="order_staff", session_id=SESSION)


def _claims(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - claims may be anything
    claims = {**jwt.decode(_access(), options={"verify_signature": False}), **changes}
    return {name: value for name, value in claims.items() if value is not None}


def _kid() -> str:
    return next(iter(tokens._public_keys()))


def _sign(claims: dict[str, Any], key: Any = None, **headers: Any) -> str:  # noqa: ANN401 - any key, any header
    return jwt.encode(claims, key or settings.JWT_PRIVATE_KEY, algorithm="RS256", headers={"kid": _kid(), **headers})


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form).decode()


def _segment(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _unsigned() -> str:
    header = _segment(json.dumps({"alg": "none", "typ": "JWT", "kid": _kid()}).encode())
    return f"{header}.{_segment(json.dumps(_claims()).encode())}."


def _signed_with_public_key() -> str:
    """An HS256 token whose secret is our public key, as a naive verifier would accept it."""
    header = _segment(json.dumps({"alg": "HS256", "typ": "JWT", "kid": _kid()}).encode())
    signed = f"{header}.{_segment(json.dumps(_claims()).encode())}"
    mac = hmac.digest(settings.JWT_PUBLIC_KEYS[0].encode(), signed.encode(), "sha256")
    return f"{signed}.{_segment(mac)}"


def _with_header(header: bytes) -> str:
    return f"{_segment(header)}.e30.e30"


def test_an_access_token_says_who_asks() -> None:
    assert tokens.read_access(_access()) == Principal(id=USER, role=Role.ORDER_STAFF, session_id=SESSION)


def test_claims_and_header_of_an_access_token() -> None:
    with time_machine.travel("2026-01-02T03:04:05Z", tick=False):
        text = _access()
    claims = jwt.decode(text, options={"verify_signature": False})
    UUID(claims.pop("jti"))
    assert claims == {
        "sub": str(USER),
        "role": "order_staff",
        "sid": str(SESSION),
        "iss": "cartwright",
        "aud": "cartwright",
        "iat": 1767323045,
        "exp": 1767323045 + 900,
        "token_type": "access",
    }
    assert jwt.get_unverified_header(text) == {"alg": "RS256", "typ": "JWT", "kid": _kid()}


def test_claims_of_a_refresh_token() -> None:
    with time_machine.travel("2026-01-02T03:04:05Z", tick=False):
        text = tokens.write_refresh(CLAIMS)
        assert tokens.read_refresh(text) == CLAIMS
    assert jwt.decode(text, options={"verify_signature": False}) == {
        "sub": str(USER),
        "sid": str(SESSION),
        "jti": str(REFRESH),
        "iss": "cartwright",
        "aud": "cartwright",
        "iat": 1767323045,
        "exp": 1767323045 + 7 * 24 * 3600,
        "token_type": "refresh",
    }


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "words": lambda: "not a token",
    "two parts": lambda: "a.b",
    "no base64": lambda: "!!.!!.!!",
    "not ASCII": lambda: "é.é.é",
    "lone surrogate": lambda: "\udc80.a.b",
    "NUL": lambda: "\0",
    "gigantic": lambda: "a" * 5_000_000,
    "nested header": lambda: _with_header(b"[" * 2900),
    "header is a list": lambda: _with_header(b"[]"),
    "alg none": _unsigned,
    "HS256 with the public key": _signed_with_public_key,
    "RS512": lambda: jwt.encode(_claims(), settings.JWT_PRIVATE_KEY, algorithm="RS512", headers={"kid": _kid()}),
    "foreign key, our kid": lambda: _sign(_claims(), _new_key()),
    "unknown kid": lambda: _sign(_claims(), kid="somebody-else"),
    "kid is no text": lambda: _with_header(b'{"alg":"RS256","kid":["a"]}'),
    "no kid": lambda: jwt.encode(_claims(), settings.JWT_PRIVATE_KEY, algorithm="RS256"),
    "cut off": lambda: _access()[:-4],
    "another's claims": lambda: ".".join(
        [*_access().split(".")[:1], _segment(b'{"sub":"x"}'), _access().split(".")[2]]
    ),
    "refresh used as access": lambda: tokens.write_refresh(CLAIMS),
    "no type": lambda: _sign(_claims(token_type=None)),
    "another issuer": lambda: _sign(_claims(iss="elsewhere")),
    "no issuer": lambda: _sign(_claims(iss=None)),
    "another audience": lambda: _sign(_claims(aud="elsewhere")),
    "no audience": lambda: _sign(_claims(aud=None)),
    "no id": lambda: _sign(_claims(jti=None)),
    "no expiry": lambda: _sign(_claims(exp=None)),
    "expired": lambda: _sign(_claims(exp=1)),
    "no subject": lambda: _sign(_claims(sub=None)),
    "subject is no id": lambda: _sign(_claims(sub="me")),
    "no session": lambda: _sign(_claims(sid=None)),
    "session is a number": lambda: _sign(_claims(sid=7)),
    "unknown role": lambda: _sign(_claims(role="root")),
    "role is a list": lambda: _sign(_claims(role=["admin"])),
}


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_access_tokens_are_refused(make: Callable[[], str]) -> None:
    with pytest.raises(InvalidToken):
        tokens.read_access(make())


BAD_REFRESH_TOKENS = {
    **{name: make for name, make in BAD_TOKENS.items() if name != "refresh used as access"},
    "access used as refresh": _access,
    "id is no id": lambda: _sign(_claims(token_type="refresh", jti="x")),
}


@pytest.mark.parametrize("make", BAD_REFRESH_TOKENS.values(), ids=BAD_REFRESH_TOKENS)
def test_bad_refresh_tokens_are_refused(make: Callable[[], str]) -> None:
    with pytest.raises(InvalidToken):
        tokens.read_refresh(make())


def test_a_remembered_token_expires_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _access()
    tokens.read_access(text)
    monkeypatch.setattr(tokens.KeyedBackend, "decode", None)
    tokens.read_access(text)  # remembered: nothing is decoded again
    with time_machine.travel(timezone.now() + timedelta(minutes=15, seconds=1)), pytest.raises(InvalidToken):
        tokens.read_access(text)


def test_the_key_set_holds_public_keys_by_thumbprint() -> None:
    (key,) = tokens.jwks()["keys"]
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
    assert (key["kty"], key["use"], key["alg"], key["e"]) == ("RSA", "sig", "RS256", "AQAB")
    canonical = f'{{"e":"{key["e"]}","kty":"RSA","n":"{key["n"]}"}}'
    assert key["kid"] == _segment(hashlib.sha256(canonical.encode()).digest())
    assert jwt.decode(_access(), jwt.PyJWK(dict(key)), audience="cartwright")["sub"] == str(USER)


def test_keys_rotate() -> None:
    last = _new_key()
    with override_settings(JWT_PUBLIC_KEYS=[*settings.JWT_PUBLIC_KEYS, _public_pem(last)]):
        _forget()
        last_kid = tokens.jwks()["keys"][1]["kid"]
        old = jwt.encode(_claims(), last, algorithm="RS256", headers={"kid": last_kid})
        assert tokens.read_access(old).id == USER
        assert jwt.get_unverified_header(_access())["kid"] == tokens.jwks()["keys"][0]["kid"]
    _forget()
    with pytest.raises(InvalidToken):
        tokens.read_access(old)
