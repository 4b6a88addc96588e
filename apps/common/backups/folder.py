"""A back-up: a folder with a copy of each store, of uploaded files and of keys, and `manifest.json`, which says what
each holds. It is complete or not there.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from apps.common.backups.mongodb import MongoDBStore
from apps.common.backups.postgresql import PostgreSQLStore
from apps.common.backups.sqlite import SQLiteStore
from apps.common.backups.store import CannotCopy, Store
from apps.common.databases import every_alias

_KINDS: Mapping[str, type[Store]] = {
    "sqlite": SQLiteStore,
    "postgresql": PostgreSQLStore,
    "mongodb": MongoDBStore,
}
_MANIFEST, _MEDIA, _KEY = "manifest.json", "media", "jwt-development.pem"
# Django makes it when somebody connects; it says nothing of what is in a database.
_OF_NO_INTEREST = frozenset({"django_migrations", "sqlite_sequence"})


def make(folder: Path) -> Mapping[str, Mapping[str, int]]:
    """Copy everything to a new folder; returns each store's tables with how many rows they have.

    Documents come first, since each needs its stock level. Then all other stores are held still for a moment, in which
    each fixes what it will be copied as: together they are what a shop would be that had lost its power just then.

    Raises:
        CannotCopy: see there.
    """
    if folder.exists():
        raise CannotCopy(f"{folder} is there already; name a folder that is not.")
    draft = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    draft.chmod(0o700)
    with _stores() as stores:
        _copy_media(draft)
        for store in stores:
            if isinstance(store, MongoDBStore):
                store.copy(draft / store.alias)
        _fix(stores)
        for store in stores:
            if not isinstance(store, MongoDBStore):
                store.copy(draft / store.alias)
        counts = {store.alias: dict(store.count()) for store in stores}
        kinds = {store.alias: connections[store.alias].vendor for store in stores}
    # What came while the others were copied, and a product may refer to. Files are never changed.
    _copy_media(draft)
    if (settings.DATA_DIR / _KEY).exists():
        shutil.copy(settings.DATA_DIR / _KEY, draft)
    manifest = {"made_at": datetime.now(UTC).isoformat(), "kinds": kinds, "counts": counts, "sha256": _sums(draft)}
    (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    draft.rename(folder)
    return counts


def restore(folder: Path) -> Mapping[str, Mapping[str, int]]:
    """Read everything back, into stores that are empty; returns what `make` did.

    Raises:
        CannotCopy: the folder is no back-up, or a damaged one, or one of other stores; a store is not empty; what was
            restored is not what was copied.
    """
    manifest = _read(folder)
    with _stores() as stores:
        _refuse_others(manifest, stores)
        for store in stores:
            store.restore(folder / store.alias)
    with _stores() as stores:
        for store in stores:
            if dict(store.count()) != manifest["counts"][store.alias]:
                raise CannotCopy(f"The database {store.alias} has other numbers of rows than were copied.")
    if (folder / _MEDIA).is_dir():
        shutil.copytree(folder / _MEDIA, settings.MEDIA_ROOT, dirs_exist_ok=True)
    if (folder / _KEY).exists():
        shutil.copy(folder / _KEY, settings.DATA_DIR)
    counts: Mapping[str, Mapping[str, int]] = manifest["counts"]
    return counts


@contextmanager
def _stores() -> Iterator[Sequence[Store]]:
    """Every store in use, open."""
    stores: list[Store] = []
    try:
        for alias in every_alias():
            stores.append(_KINDS[connections[alias].vendor](alias))  # noqa: PERF401 - those that are open are closed
        yield stores
    finally:
        for store in stores:
            store.close()


def _fix(stores: Sequence[Store]) -> None:
    held: list[Store] = []
    try:
        for store in stores:
            store.hold()
            held.append(store)
        for store in stores:
            store.fix()
    finally:
        for store in held:
            store.release()


def _copy_media(draft: Path) -> None:
    """Files in a bucket are for the bucket to keep."""
    if not settings.MEDIA_ROOT.is_dir():
        return
    for path in settings.MEDIA_ROOT.rglob("*"):
        target = draft / _MEDIA / path.relative_to(settings.MEDIA_ROOT)
        if path.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


def _read(folder: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise CannotCopy(f"{folder} is no back-up: it has no {_MANIFEST} that can be read.") from error
    sums = _sums(folder)
    for name, known in manifest["sha256"].items():
        if sums.get(name) != known:
            raise CannotCopy(f"{folder / name} is missing or damaged.")
    return manifest


def _refuse_others(manifest: Any, stores: Sequence[Store]) -> None:  # noqa: ANN401 - JSON
    kinds = {store.alias: connections[store.alias].vendor for store in stores}
    if kinds != manifest["kinds"]:
        raise CannotCopy(f"The back-up is of {_list(manifest['kinds'])}, but this shop has {_list(kinds)}.")
    for store in stores:
        full = [name for name, count in store.count().items() if count and name not in _OF_NO_INTEREST]
        if full:
            raise CannotCopy(f"The database {store.alias} is not empty ({full[0]}): restore into new ones.")
        if connections[store.alias].vendor == "postgresql" and store.count():
            raise CannotCopy(f"The database {store.alias} has tables already: restore into one that has none.")


def _list(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{alias} ({kind})" for alias, kind in sorted(kinds.items()))


def _sums(folder: Path) -> dict[str, str]:
    """Each file but the manifest, with its SHA-256."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _MANIFEST:
            with path.open("rb") as file:
                sums[os.fspath(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums
