"""The RSA keys that sign and verify tokens."""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ImproperlyConfigured

from config import env

_PEM_END = "-----END PUBLIC KEY-----"
_SMALLEST_KEY = 2048  # RFC 7518, section 3.3


def from_environment(data_dir: Path, *, development: bool) -> tuple[str, list[str]]:
    """The private key and every public key that is accepted, PEM; the private key's own public half comes first.

    `JWT_PUBLIC_KEYS` holds further public keys one after another: publish the next key there before signing with it,
    keep the last one until its tokens have expired. In development a key is made once and kept in `DATA_DIR`.
    """
    private_pem = env.text("JWT_PRIVATE_KEY").replace("\\n", "\n")
    source = "JWT_PRIVATE_KEY"
    if not private_pem:
        if not development:
            raise ImproperlyConfigured(
                "JWT_PRIVATE_KEY must be set to an RSA private key in PEM when DEBUG is off. "
                "Make one: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048"
            )
        path = data_dir / "jwt-development.pem"
        private_pem = _development_key(path)
        source = f"{path} (made when JWT_PRIVATE_KEY is unset; delete it to have a new one)"
    public_pems = env.text("JWT_PUBLIC_KEYS").replace("\\n", "\n").split(_PEM_END)
    accepted = [
        _public_half(private_pem, source),
        *(f"{pem.strip()}\n{_PEM_END}\n" for pem in public_pems if pem.strip()),
    ]
    for pem in accepted:
        _check_public(pem)
    return private_pem, list(dict.fromkeys(accepted))


def _development_key(path: Path) -> str:
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(pem)
        # Two processes may start at once: the first link wins and both read the same key.
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""  # refused as any other text that is no key


def _public_half(private_pem: str, source: str) -> str:
    try:
        key = serialization.load_pem_private_key(private_pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ImproperlyConfigured(f"{source} is not an unencrypted RSA private key in PEM.") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _SMALLEST_KEY:
        raise ImproperlyConfigured(f"{source} must be an RSA key of at least {_SMALLEST_KEY} bits.")
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


def _check_public(pem: str) -> None:
    message = f"JWT_PUBLIC_KEYS must be RSA public keys in PEM, of at least {_SMALLEST_KEY} bits, one after another."
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ImproperlyConfigured(message) from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _SMALLEST_KEY:
        raise ImproperlyConfigured(message)
