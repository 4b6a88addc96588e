"""The full-text index on products_searchentry, in each database's own way. (RunPython runs on the products database only:
the router says so. Other databases than these two get no index.)"""

from django.db import migrations

# An external-content table: the index holds no copy of the text, triggers keep it. The text is tokens already, divided
# by spaces: the plain tokenizer leaves every letter beyond ASCII as it is.
SQLITE = (
    """
    CREATE VIRTUAL TABLE products_searchindex USING fts5(
        title, body, content='products_searchentry', content_rowid='id', tokenize='ascii'
    )
    """,
    """
    CREATE TRIGGER products_searchentry_added AFTER INSERT ON products_searchentry BEGIN
        INSERT INTO products_searchindex (rowid, title, body) VALUES (new.id, new.title, new.body);
    END
    """,
    """
    CREATE TRIGGER products_searchentry_removed AFTER DELETE ON products_searchentry BEGIN
        INSERT INTO products_searchindex (products_searchindex, rowid, title, body)
        VALUES ('delete', old.id, old.title, old.body);
    END
    """,
    """
    CREATE TRIGGER products_searchentry_changed AFTER UPDATE ON products_searchentry BEGIN
        INSERT INTO products_searchindex (products_searchindex, rowid, title, body)
        VALUES ('delete', old.id, old.title, old.body);
        INSERT INTO products_searchindex (rowid, title, body) VALUES (new.id, new.title, new.body);
    END
    """,
    "INSERT INTO products_searchindex (products_searchindex) VALUES ('rebuild')",
)
SQLITE_BACK = (
    "DROP TRIGGER products_searchentry_changed",
    "DROP TRIGGER products_searchentry_removed",
    "DROP TRIGGER products_searchentry_added",
    "DROP TABLE products_searchindex",
)
# A column that Django does not know of and PostgreSQL keeps by itself. The texts become a tsvector as they are, each token
# with a position (a weight needs one), instead of going through PostgreSQL's parser, which would divide them anew.
POSTGRESQL = (
    r"""
    ALTER TABLE products_searchentry ADD COLUMN vector tsvector GENERATED ALWAYS AS (
        setweight(regexp_replace(title, '([^ ]+)', '\1:1', 'g')::tsvector, 'A')
            || setweight(regexp_replace(body, '([^ ]+)', '\1:1', 'g')::tsvector, 'D')
    ) STORED
    """,
    "CREATE INDEX products_searchindex ON products_searchentry USING gin (vector)",
)
POSTGRESQL_BACK = ("ALTER TABLE products_searchentry DROP COLUMN vector",)


def make(apps, schema_editor):
    _run({"sqlite": SQLITE, "postgresql": POSTGRESQL}, schema_editor)


def drop(apps, schema_editor):
    _run({"sqlite": SQLITE_BACK, "postgresql": POSTGRESQL_BACK}, schema_editor)


def _run(statements, schema_editor):
    for statement in statements.get(schema_editor.connection.vendor, ()):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("products", "0001_initial")]
    operations = [migrations.RunPython(make, drop)]
