"""The RSA keys that sign and verify tokens."""

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ImproperlyConfigured

from config import env

_PEM_END = "-----END PUBLIC KEY-----"


def from_environment(data_dir: Path, *, development: bool) -> tuple[str, list[str]]:
    """The private key and every public key that is accepted, PEM; the private key's own public half comes first.

    `JWT_PUBLIC_KEYS` holds further public keys one after another: publish the next key there before signing with it,
    keep the last one until its tokens have expired. In development a key is made once and kept in `DATA_DIR`.
    """
    private_pem = env.text("JWT_PRIVATE_KEY").replace("\\n", "\n")
    if not private_pem:
        if not development:
            raise ImproperlyConfigured(
                "JWT_PRIVATE_KEY must be set to an RSA private key in PEM when DEBUG is off. "
                "Make one: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048"
            )
        private_pem = _development_key(data_dir / "jwt-development.pem")
    public_pems = env.text("JWT_PUBLIC_KEYS").replace("\\n", "\n").split(_PEM_END)
    accepted = [_public_half(private_pem), *(f"{pem.strip()}\n{_PEM_END}\n" for pem in public_pems if pem.strip())]
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
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        draft.unlink()
    return path.read_text()


def _public_half(private_pem: str) -> str:
    try:
        key = serialization.load_pem_private_key(private_pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ImproperlyConfigured("JWT_PRIVATE_KEY is not an unencrypted RSA private key in PEM.") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < 2048:  # noqa: PLR2004 - RFC 7518, section 3.3
        raise ImproperlyConfigured("JWT_PRIVATE_KEY must be an RSA key of at least 2048 bits.")
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public.decode()


def _check_public(pem: str) -> None:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError as error:
        raise ImproperlyConfigured("JWT_PUBLIC_KEYS must be RSA public keys in PEM, one after another.") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise ImproperlyConfigured("JWT_PUBLIC_KEYS must be RSA public keys in PEM, one after another.")
