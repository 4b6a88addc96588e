"""Copies of the documents in MongoDB: a file in BSON for each collection, as `mongodump` writes it, and its indexes."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import bson
import pymongo
from django.db import connections
from pymongo.errors import PyMongoError

from apps.common.backups.store import CannotCopy, Store

_BATCH = 1000
# A collection, or an index of it, takes longer than anybody waits for an answer.
_LONGEST_SECONDS = 3600


class MongoDBStore(Store):
    """It is read without a snapshot, which only a replica set has: `copy` is called before other stores are held."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        connection = connections[alias]
        connection.ensure_connection()
        self._database: Any = connection.database  # type: ignore[attr-defined] # MongoDB's backend
        self._counts: dict[str, int] = {}

    def hold(self) -> None: ...

    def fix(self) -> None: ...

    def release(self) -> None: ...

    def count(self) -> Mapping[str, int]:
        return self._counts or {name: self._database[name].count_documents({}) for name in self._names()}

    def copy(self, place: Path) -> None:
        place.mkdir()
        try:
            for name in self._names():
                with pymongo.timeout(_LONGEST_SECONDS):
                    self._counts[name] = self._copy(name, place)
        except PyMongoError as error:
            raise CannotCopy(f"Documents cannot be read: {error}") from error

    def restore(self, place: Path) -> None:
        try:
            for path in sorted(place.glob("*.bson")):
                with pymongo.timeout(_LONGEST_SECONDS):
                    self._restore(path)
        except PyMongoError as error:
            raise CannotCopy(f"Documents cannot be written: {error}") from error

    def close(self) -> None: ...

    def _names(self) -> list[str]:
        """Products come before categories: what is referred to must not be missing."""
        names: list[str] = self._database.list_collection_names()
        return sorted((name for name in names if not name.startswith("system.")), reverse=True)

    def _copy(self, name: str, place: Path) -> int:
        count = 0
        with (place / f"{name}.bson").open("wb") as file:
            for document in self._database[name].find():
                file.write(bson.encode(document))
                count += 1
        indexes = [dict(index) for index in self._database[name].list_indexes()]
        (place / f"{name}.indexes").write_bytes(bson.encode({"indexes": indexes}))
        return count

    def _restore(self, path: Path) -> None:
        collection = self._database[path.stem]
        with path.open("rb") as file:
            documents = bson.decode_file_iter(file)
            while batch := list(islice(documents, _BATCH)):
                collection.insert_many(batch, ordered=False)
        indexes = list(_indexes(path.with_suffix(".indexes")))
        if indexes:
            self._database.command("createIndexes", path.stem, indexes=indexes)


def _indexes(path: Path) -> Iterator[dict[str, Any]]:
    """Those of a collection, without the one that it has anyway."""
    for index in bson.decode(path.read_bytes())["indexes"]:
        if index["name"] != "_id_":
            yield {name: value for name, value in index.items() if name not in {"v", "ns"}}
