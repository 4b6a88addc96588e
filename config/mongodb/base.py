"""The MongoDB backend, which says `OperationalError` when no server answers, as the other backends do."""

from django.utils.asyncio import async_unsafe
from django_mongodb_backend.base import DatabaseWrapper as MongodbWrapper
from django_mongodb_backend.operations import DatabaseOperations as MongodbOperations

from apps.common.mongodb import says_when_away


class DatabaseOperations(MongodbOperations):
    compiler_module = "config.mongodb.compiler"


class DatabaseWrapper(MongodbWrapper):
    ops_class = DatabaseOperations

    @async_unsafe
    def connect(self) -> None:
        with says_when_away():
            super().connect()
