"""Uploaded files in an S3-compatible bucket."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from storages.backends.s3 import S3Storage


class Bucket(S3Storage):
    """Raises what the local storage raises, an OSError, and does not wait for long.

    A name is never used again: nothing asks whether there is such a file, and copies of it may be kept for ever.
    """

    client_config = Config(
        connect_timeout=2,
        read_timeout=10,
        retries={"total_max_attempts": 2},
        # Others than Amazon know no bucket by its host name, and not every checksum.
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    object_parameters = {"CacheControl": "public, max-age=31536000, immutable"}

    def _save(self, name: str, content: File[bytes]) -> str:
        with _as_os_errors():
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        with _as_os_errors():
            super().delete(name)

    def exists(self, name: str) -> bool:
        with _as_os_errors():
            return bool(super().exists(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        with _as_os_errors():
            folders, files = super().listdir(path)
            return folders, files


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise OSError(f"The bucket cannot be used: {error}") from error
