"""A migration that the release before could not work with is refused, and one that it can is not."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
from django.db import models
from django.db.migrations import AddField, AddIndex, CreateModel, Migration, RemoveField, RenameField
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

from tests.migrations import BASELINE, troubles
from tests.shop import ROOT

pytestmark = pytest.mark.once


def troubles_of(*operations: Operation) -> Sequence[str]:
    following = type("Following", (Migration,), {"operations": list(operations)})
    return troubles(following("0099_next", "orders"), MigrationLoader(None).project_state())


@pytest.mark.parametrize(
    ("operation", "sentences"),
    [
        (RemoveField("order", "note"), ["DROPPING columns"]),
        (RenameField("order", "note", "remark"), ["RENAMING columns"]),
        (AddField("order", "channel", models.TextField(default="web")), ["NOT NULL constraint on columns"]),
        (
            AddIndex("order", models.Index(fields=["note"], name="order_by_note")),
            ["CREATE INDEX locks table"],
        ),
        (AddField("order", "channel", models.TextField(null=True)), []),
        (AddField("order", "channel", models.TextField(db_default="web")), []),
        (CreateModel("Parcel", [("id", models.BigAutoField(primary_key=True))]), []),
    ],
)
def test_what_the_release_before_cannot_work_with_is_refused(operation: Operation, sentences: Sequence[str]) -> None:
    assert troubles_of(operation) == sentences


def test_the_migrations_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.migrations"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_baseline_names_migrations_that_there_are() -> None:
    assert set(BASELINE.items()) <= set(MigrationLoader(None).disk_migrations)
