"""Access and refresh tokens: JSON Web Tokens signed with RS256, and the keys that others verify them with."""

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any, TypeVar
from uuid import UUID

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings
from jwt.algorithms import RSAAlgorithm
from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError

from apps.users.interface import Caller, Identity, InvalidToken, Principal, Role, Scope, ServiceAccount

ALGORITHM = "RS256"
# Ours have less than 1,000 characters.
MAX_LENGTH = 4096
_REMEMBERED = 4096

Jwk = Mapping[str, str]


@dataclass(frozen=True)
class RefreshClaims:
    """What a verified refresh token says."""

    user_id: UUID
    session_id: UUID
    refresh_id: UUID


def write_access(*, user_id: UUID, role: str, session_id: UUID) -> str:
    """A signed access token, good from now on for the access token's lifetime."""
    token = AccessToken()
    token["sub"], token["role"], token["sid"] = str(user_id), str(role), str(session_id)
    return str(token)


def write_refresh(claims: RefreshClaims) -> str:
    """A signed refresh token, good from now on for the refresh token's lifetime."""
    token = RefreshToken()
    token["sub"], token["sid"], token["jti"] = str(claims.user_id), str(claims.session_id), str(claims.refresh_id)
    return str(token)


def write_service(account: ServiceAccount, *, lifetime: timedelta) -> str:
    """A signed service token, good for that long from now on."""
    token = ServiceToken()
    token.set_exp(lifetime=lifetime)
    token["sub"], token["jti"] = f"service:{account.name}", str(account.id)
    token["scope"] = " ".join(sorted(account.scopes))
    return str(token)


def read_access(text: str) -> Principal:
    """Who an access token was given to. Whether the session still lives is not for a token to say.

    Raises:
        InvalidToken: it is not an access token of ours, or has expired.
    """
    principal, expires_at = _verified(text)
    if expires_at <= time.time():
        raise _invalid()
    return principal


def read_any(text: str) -> Identity:
    """Whom an access token or a service token was given to. Whether it was revoked is not for a token to say.

    Raises:
        InvalidToken: it is neither, or has expired.
    """
    caller: Caller
    try:
        caller, expires_at = _verified(text)
    except InvalidToken:
        caller, expires_at = _verified_service(text)
    if expires_at <= time.time():
        raise _invalid()
    return Identity(caller=caller, expires_at=datetime.fromtimestamp(expires_at, UTC))


def read_refresh(text: str) -> RefreshClaims:
    """What a refresh token says.

    Raises:
        InvalidToken: it is not a refresh token of ours, or has expired.
    """
    token = _decode(RefreshToken, text)
    try:
        return RefreshClaims(UUID(token["sub"]), UUID(str(token["sid"])), UUID(token["jti"]))
    except (KeyError, ValueError) as error:
        raise _invalid() from error


def jwks() -> dict[str, list[Jwk]]:
    """The JWK set (RFC 7517) of every key that tokens may be signed with."""
    return {"keys": [{**_jwk(key), "use": "sig", "alg": ALGORITHM, "kid": kid} for kid, key in _public_keys().items()]}


class AccessToken(tokens.AccessToken):
    """What a client shows with each request. Lifetimes are those of the setting `SIMPLE_JWT`."""

    def get_token_backend(self) -> "KeyedBackend":
        return _backend()


class RefreshToken(tokens.RefreshToken):
    """What a client exchanges for a new pair; `jti` is the session's `refresh_id`."""

    def get_token_backend(self) -> "KeyedBackend":
        return _backend()


class ServiceToken(tokens.Token):
    """What another system shows over gRPC (RFC 8693, section 4.2, has `scope`)."""

    token_type = "service"  # noqa: S105 - the name of a kind
    lifetime = timedelta(days=365)

    def get_token_backend(self) -> "KeyedBackend":
        return _backend()


class KeyedBackend(TokenBackend):
    """Signs with one key and names it in the header (`kid`); verifies with the key that a header names."""

    def encode(self, payload: dict[str, Any]) -> str:
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        kid = next(iter(_public_keys()))
        return jwt.encode(claims, self.prepared_signing_key, algorithm=self.algorithm, headers={"kid": kid})

    def get_verifying_key(self, token: str) -> RSAPublicKey:  # type: ignore[override]  # it gets the text
        kid = jwt.get_unverified_header(token).get("kid")
        try:
            return _public_keys()[kid or ""]
        except KeyError:
            raise TokenBackendError("Signed with a key that is not ours") from None


@lru_cache(maxsize=_REMEMBERED)
def _verified(text: str) -> tuple[Principal, int]:
    """The token's bearer and when it expires. Verifying costs far more than remembering: a refusal is not kept."""
    token = _decode(AccessToken, text)
    try:
        principal = Principal(id=UUID(token["sub"]), role=Role(token["role"]), session_id=UUID(str(token["sid"])))
        return principal, int(token["exp"])
    except (KeyError, ValueError) as error:
        raise _invalid() from error


@lru_cache(maxsize=_REMEMBERED)
def _verified_service(text: str) -> tuple[ServiceAccount, int]:
    """The token's bearer and when it expires. A scope that is no more gives nothing."""
    token = _decode(ServiceToken, text)
    known = {str(scope) for scope in Scope}
    try:
        scopes = frozenset(Scope(name) for name in token["scope"].split() if name in known)
        account = ServiceAccount(UUID(token["jti"]), token["sub"].removeprefix("service:"), scopes)
        return account, int(token["exp"])
    except (KeyError, ValueError) as error:
        raise _invalid() from error


_Token = TypeVar("_Token", AccessToken, RefreshToken, ServiceToken)


def _decode(kind: type[_Token], text: str) -> _Token:
    if len(text) > MAX_LENGTH or not text.isascii():
        raise _invalid()
    try:
        return kind(text)  # type: ignore[arg-type]  # annotated as the token that it makes of the text
    except (TokenError, RecursionError) as error:  # a header of thousands of brackets exhausts the JSON reader
        raise _invalid() from error


def _invalid() -> InvalidToken:
    return InvalidToken("The token is not valid, has expired, or its session has ended.")


@cache
def _backend() -> KeyedBackend:
    return KeyedBackend(
        ALGORITHM,
        signing_key=settings.JWT_PRIVATE_KEY,
        audience=settings.JWT_AUDIENCE,
        issuer=settings.JWT_ISSUER,
    )


@cache
def _public_keys() -> Mapping[str, RSAPublicKey]:
    """Every accepted key by its id; the first belongs to the signing key."""
    keys: dict[str, RSAPublicKey] = {}
    for pem in settings.JWT_PUBLIC_KEYS:
        key = load_pem_public_key(pem.encode())
        assert isinstance(key, RSAPublicKey)  # noqa: S101 - config/keys.py has made sure
        keys[_thumbprint(key)] = key
    return keys


def _thumbprint(key: RSAPublicKey) -> str:
    """The key's id: RFC 7638."""
    digest = hashlib.sha256(orjson.dumps(_jwk(key), option=orjson.OPT_SORT_KEYS)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _jwk(key: RSAPublicKey) -> Jwk:
    """The members that make up the key, and no others."""
    members = RSAAlgorithm.to_jwk(key, as_dict=True)
    return {name: str(members[name]) for name in ("e", "kty", "n")}
