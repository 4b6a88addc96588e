"""Django's SQLite backend with the true limit of bound values (see `features.py`)."""

from django.db.backends.sqlite3.base import DatabaseWrapper as DjangoWrapper

from config.sqlite.features import DatabaseFeatures


class DatabaseWrapper(DjangoWrapper):
    features_class = DatabaseFeatures
