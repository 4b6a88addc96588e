"""What a back-up promises: one moment for all stores, and nothing restored over anything."""

import json
import threading
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from apps.common.backups import folder as backups
from apps.common.databases import alias_of, atomic
from apps.common.ids import new_id
from apps.events.envelope import Fact
from apps.events.models import OutboxEvent
from apps.events.outbox import publish

pytestmark = pytest.mark.django_db(transaction=True)


def publish_something() -> None:
    try:
        with atomic("orders"):
            publish("orders", Fact(type="order.created", subject=new_id(), sequence=1, data={}))
    finally:
        connections.close_all()


def test_nobody_publishes_while_a_store_is_held_and_a_copy_is_of_that_moment() -> None:
    alias = alias_of("orders")
    store = backups._KINDS[connections[alias].vendor](alias)
    somebody = threading.Thread(target=publish_something)
    store.hold()
    try:
        somebody.start()
        store.fix()
        somebody.join(0.5)
        assert somebody.is_alive()
        assert not OutboxEvent.objects.using(alias).exists()
    finally:
        store.release()
    somebody.join(30)
    try:
        assert OutboxEvent.objects.using(alias).count() == 1
        assert store.count()["events_outboxevent"] == 0
    finally:
        store.close()


def test_a_back_up_is_new_and_for_its_owner_only(tmp_path: Path) -> None:
    call_command("backup", str(tmp_path / "copy"), stdout=None)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "copy.unfinished").exists()
    with pytest.raises(CommandError, match="is there already"):
        call_command("backup", str(tmp_path / "copy"))


def test_a_shop_that_is_not_empty_is_not_overwritten(tmp_path: Path) -> None:
    publish_something()
    backups.make(tmp_path / "copy")
    with pytest.raises(CommandError, match=r"is not empty|has tables already"):
        call_command("restore", str(tmp_path / "copy"))
    assert OutboxEvent.objects.using(alias_of("orders")).count() == 1


def test_what_is_no_whole_back_up_is_not_restored(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is no back-up"):
        call_command("restore", str(tmp_path))
    backups.make(tmp_path / "copy")
    manifest = tmp_path / "copy" / "manifest.json"
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**said, "kinds": {"default": "oracle"}}))
    with pytest.raises(CommandError, match=r"The back-up is of default \(oracle\), but this shop has"):
        call_command("restore", str(tmp_path / "copy"))
    damaged = next(path for path in (tmp_path / "copy").rglob("*") if path.is_file() and path != manifest)
    damaged.write_bytes(b"something else")
    with pytest.raises(CommandError, match="is missing or damaged"):
        call_command("restore", str(tmp_path / "copy"))
