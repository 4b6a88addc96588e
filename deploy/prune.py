"""Make an installation small: remove what the shop never reads of its packages; write byte code for what it imports.

deploy/Dockerfile runs it; each rule says why it is safe, and tests/test_image.py uses the shop that is left.
"""

import os
import py_compile
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of config.settings.base.LANGUAGES; some packages write Chinese as zh_CN.
LANGUAGES = {"en", "zh_CN", "zh_Hans"}
# Amazon describes four hundred services there. Pictures are kept by one, and the other says which role a machine has.
BOTOCORE_SERVICES = {"s3", "sts"}
UNUSED = (
    # Parts of Django that no settings module installs.
    "django/contrib/flatpages",
    "django/contrib/redirects",
    # The API's documents are Swagger's.
    "drf_spectacular_sidecar/static/drf_spectacular_sidecar/redoc",
    # Types of parameters.
    "stripe/params",
)
# Translations are read compiled; types and maps are for editors and debuggers, and the rest is for compilers.
UNREAD = {".po", ".pyi", ".map", ".c", ".h", ".pyx", ".pxd"}


def main() -> None:
    (packages,) = (Path(path) for path in sys.path if path.endswith("site-packages"))
    for path in unneeded(packages):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    # Once: they would otherwise be compiled at each start of each process, as nobody may write beside them.
    for source in imported():
        py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def unneeded(packages: Path) -> Iterator[Path]:
    """Files and folders that can be removed, none inside another."""
    folders = [packages / name for name in UNUSED]
    data = packages / "botocore" / "data"
    folders += [path for path in data.iterdir() if path.is_dir() and path.name not in BOTOCORE_SERVICES]
    folders += [path for path in (packages / "reportlab" / "fonts").iterdir() if not path.name.startswith("Vera")]
    for locale in packages.rglob("locale"):
        folders += [path for path in locale.iterdir() if path.is_dir() and path.name not in LANGUAGES]
    folders += packages.rglob("tests")
    outer = {path for path in folders if not set(folders) & set(path.parents)}
    yield from outer
    for path in packages.rglob("*"):
        if path.suffix in UNREAD and not path.is_dir() and not outer & set(path.parents):
            yield path


def imported() -> list[Path]:
    """Our own modules, and those of packages that the processes of `manage.py serve` import."""
    with tempfile.TemporaryDirectory() as data_dir:
        os.environ |= {"DATA_DIR": data_dir, "DJANGO_SETTINGS_MODULE": "config.settings.monolith", "DEBUG": "on"}
        sys.path.insert(0, str(ROOT))
        os.chdir(ROOT)
        _import_everything()
    names = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    files = {Path(name) for name in names if name}
    packages = {file for file in files if file.suffix == ".py" and "site-packages" in file.parts}
    ours = {path for name in ("apps", "config", "grpc_api") for path in (ROOT / name).rglob("*.py")}
    return sorted(packages | ours)


def _import_everything() -> None:
    import django

    django.setup()
    for name in PROCESSES:
        __import__(name)
    from django.core.management import call_command

    call_command("check", verbosity=0)
    call_command("migrate_all", verbosity=0)


PROCESSES = (
    *("config.wsgi", "config.celery", "config.grpc"),
    *("celery.apps.beat", "celery.apps.worker", "celery.bin.celery", "celery.concurrency.prefork", "granian.cli"),
    # What depends on the settings.
    *("config.mongodb.base", "django.db.backends.postgresql.base", "django_redis.cache", "kombu.transport.redis"),
    *("kombu.transport.pyamqp", "storages.backends.s3", "stripe"),
)


if __name__ == "__main__":
    main()
