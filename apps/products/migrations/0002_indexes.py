"""Indexes that each database makes in its own way (`apps/products/store/indexes.py`)."""

from django.db import migrations

from apps.products.store.indexes import install


def make(apps, schema_editor):
    install(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("products", "0001_initial")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
