"""What staff search orders by, on PostgreSQL: the end of a number, and a part of the recipient's name. SQLite looks at
every order, of which it has few.
"""

from django.db import migrations

_POSTGRESQL = (
    "CREATE INDEX IF NOT EXISTS order_by_number_end ON orders_order (reverse(number) text_pattern_ops)",
    # Who may not install the extension, or has none, waits longer for a recipient.
    """
    DO $$ BEGIN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE INDEX IF NOT EXISTS order_by_recipient ON orders_order
        USING gin (upper(shipping ->> 'name') gin_trgm_ops);
    EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
        RAISE NOTICE 'pg_trgm cannot be installed: searching orders by recipient will be slow';
    END $$
    """,
)


def make(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statement in _POSTGRESQL:
            schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("orders", "0001_initial")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
