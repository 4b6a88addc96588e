"""Indexes that each database makes in its own way, beside those that the models name.

Migrations install them. One that alters `products_product` on SQLite makes the table anew, and its triggers are gone:
let it call `install` once more. `manage.py check` misses what is missing.
"""

from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

# The full-text index keeps the texts under numbers: SQLite's own row numbers do not survive a VACUUM. The text is
# tokens already, divided by spaces: the plain tokenizer leaves every letter beyond ASCII as it is.
_SQLITE = (
    "DROP TRIGGER IF EXISTS products_search_added",
    "DROP TRIGGER IF EXISTS products_search_changed",
    "DROP TRIGGER IF EXISTS products_search_removed",
    "DROP TABLE IF EXISTS products_searchindex",
    "DROP TABLE IF EXISTS products_searchkey",
    "CREATE TABLE products_searchkey (number INTEGER PRIMARY KEY, product_id char(32) NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE products_searchindex USING fts5(title, body, tokenize='ascii')",
    """
    CREATE TRIGGER products_search_added AFTER INSERT ON products_product BEGIN
        INSERT INTO products_searchkey (product_id) VALUES (new._id);
        INSERT INTO products_searchindex (rowid, title, body)
        SELECT number, new.search_title, new.search_body FROM products_searchkey WHERE product_id = new._id;
    END
    """,
    """
    CREATE TRIGGER products_search_changed AFTER UPDATE OF search_title, search_body ON products_product
    WHEN old.search_title <> new.search_title OR old.search_body <> new.search_body BEGIN
        UPDATE products_searchindex SET title = new.search_title, body = new.search_body
        WHERE rowid = (SELECT number FROM products_searchkey WHERE product_id = new._id);
    END
    """,
    """
    CREATE TRIGGER products_search_removed AFTER DELETE ON products_product BEGIN
        DELETE FROM products_searchindex
        WHERE rowid = (SELECT number FROM products_searchkey WHERE product_id = old._id);
        DELETE FROM products_searchkey WHERE product_id = old._id;
    END
    """,
    "INSERT INTO products_searchkey (product_id) SELECT _id FROM products_product",
    """
    INSERT INTO products_searchindex (rowid, title, body)
    SELECT number, search_title, search_body FROM products_searchkey JOIN products_product ON _id = product_id
    """,
)
# A column that Django does not know of and PostgreSQL keeps by itself. The texts become a tsvector as they are, each
# token with a position (a weight needs one): PostgreSQL's own parser would divide them anew.
_POSTGRESQL = (
    # Names are ordered as everywhere else, whatever the database's language is.
    """
    DO $$ BEGIN IF EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = 'products_product'::regclass AND attname = 'name_key'
            AND attcollation <> '"C"'::regcollation
    ) THEN ALTER TABLE products_product ALTER COLUMN name_key TYPE varchar(600) COLLATE "C"; END IF; END $$
    """,
    r"""
    ALTER TABLE products_product ADD COLUMN IF NOT EXISTS search_vector tsvector GENERATED ALWAYS AS (
        setweight(regexp_replace(search_title, '([^ ]+)', '\1:1', 'g')::tsvector, 'A')
            || setweight(regexp_replace(search_body, '([^ ]+)', '\1:1', 'g')::tsvector, 'D')
    ) STORED
    """,
    "CREATE INDEX IF NOT EXISTS products_searchindex ON products_product USING gin (search_vector)",
    # An index keeps no weights: a search of titles alone would have to look at every product that has the word.
    r"""
    CREATE INDEX IF NOT EXISTS products_titleindex ON products_product
    USING gin ((regexp_replace(search_title, '([^ ]+)', '\1:1', 'g')::tsvector))
    """,
    "CREATE INDEX IF NOT EXISTS products_by_tag ON products_product USING gin (tags)",
    "CREATE INDEX IF NOT EXISTS products_by_attribute ON products_product USING gin (attributes jsonb_path_ops)",
    # Who may not install the extension, or has none, has a search that forgives no typing errors.
    """
    DO $$ BEGIN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE INDEX IF NOT EXISTS products_by_trigram ON products_product USING gin (search_title gin_trgm_ops);
    EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
        RAISE NOTICE 'pg_trgm cannot be installed: searching will forgive no typing errors';
    END $$
    """,
)
# The unique indexes that Django makes there are partial, and found by no equality. Arrays are indexed by element.
_MONGODB = {
    "products_product": ("sku_folded", "search_title", "search_body", "tags", "attributes.$**", "deleted_at"),
    "products_category": ("slug", "sibling_key"),
}


def install(connection: BaseDatabaseWrapper) -> None:
    """Make what is missing, and on SQLite everything anew."""
    if connection.vendor == "mongodb":
        for name, fields in _MONGODB.items():
            for field in fields:
                connection.get_collection(name).create_index([(field, 1)])  # type: ignore[attr-defined]
        return
    with connection.cursor() as cursor:
        for statement in {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}[connection.vendor]:
            cursor.execute(statement)


def missing(connection: BaseDatabaseWrapper) -> Sequence[str]:
    """The names of those that should be there and are not."""
    if connection.vendor == "mongodb":
        return [
            f"{name}.{field}"
            for name, fields in _MONGODB.items()
            for there in [_indexed(connection, name)]
            for field in fields
            if field not in there
        ]
    query, wanted = _WANTED[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(query)
        there = {name for (name,) in cursor.fetchall()}
    return [name for name in wanted if name not in there]


def _indexed(connection: BaseDatabaseWrapper, name: str) -> set[str]:
    """The single fields of the collection that have a full index."""
    indexes = connection.get_collection(name).index_information().values()  # type: ignore[attr-defined]
    return {
        index["key"][0][0] for index in indexes if len(index["key"]) == 1 and "partialFilterExpression" not in index
    }


_WANTED = {
    "sqlite": (
        "SELECT name FROM sqlite_master",
        ("products_searchindex", "products_search_added", "products_search_changed", "products_search_removed"),
    ),
    "postgresql": (
        "SELECT indexname FROM pg_indexes WHERE tablename = 'products_product'",
        ("products_searchindex", "products_titleindex", "products_by_tag", "products_by_attribute"),
    ),
}
