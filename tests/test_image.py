"""The image: deploy/Dockerfile carried out in a clean root, and a shop used in it, not as root, its tree read-only."""

import secrets
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import boto3
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto.server import ThreadedMotoServer
from PIL import Image as Picture

from tests.image import Builder, Container, Image
from tests.journeys import walk_through
from tests.outage import remove_queues
from tests.services import needs_command, needs_redis, needs_root, new_postgres_database
from tests.shop import ROOT, Client

pytestmark = [pytest.mark.e2e, pytest.mark.once]

LARGEST = 250_000_000
# What a shop prints of a file that it wanted to write, or make, beside itself.
REFUSED = ("Read-only file system", "Permission denied")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    needs_root()
    needs_command("debootstrap")
    with tempfile.TemporaryDirectory(prefix="cartwright-image-") as folder:
        yield Builder(Path(folder)).build(ROOT / "deploy" / "Dockerfile")


@pytest.fixture(scope="module")
def production() -> dict[str, str]:
    """What a shop needs with DEBUG off, as it is in the image."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {"SECRET_KEY": secrets.token_urlsafe(48), "ALLOWED_HOSTS": "127.0.0.1", "JWT_PRIVATE_KEY": pem}


@pytest.fixture(scope="module")
def single(image: Image, production: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """The image with nothing but secrets: on SQLite."""
    shop = Container(image, tmp_path_factory.mktemp("single"), production)
    try:
        shop.start(seconds=120)
        yield shop
    finally:
        shop.kill()


@pytest.fixture(scope="module")
def admin(single: Container) -> Client:
    return single.admin()


def test_it_is_small(image: Image) -> None:
    assert image.size() < LARGEST


def test_nothing_of_the_developers_gets_in(image: Image) -> None:
    app = image.root / "app"
    shop = {"LICENSE", "apps", "config", "deploy", "grpc_api", "manage.py", "pyproject.toml", "uv.lock"}
    assert {path.name for path in app.iterdir()} == {".venv", *shop}
    ours = [path for name in ("apps", "config", "grpc_api") for path in (app / name).rglob("*")]
    assert [path for path in ours if path.name in {"tests", "django.po"}] == []
    assert not any((app / ".venv/bin" / name).exists() for name in ("pip", "pytest", "ruff"))


def test_it_has_no_tools(image: Image) -> None:
    programs = {path.name for path in (image.root / "usr/bin").iterdir()}
    assert programs & {"sh", "python3", "tini"} == {"sh", "python3", "tini"}
    assert programs & {"apt-get", "bash", "dpkg", "mount", "passwd", "perl", "su", "tar"} == set()
    set_by_owner = [path for path in image.root.rglob("*") if path.is_file() and path.stat().st_mode & 0o6000]
    assert set_by_owner == []


def test_it_is_not_root_and_can_write_nowhere_else(single: Container, image: Image) -> None:
    assert image.user == "10001:10001"
    done = single.run("python", "-c", "import os; print(os.getuid(), os.getgid(), os.getgroups())")
    assert done.stdout == "10001 10001 [10001]\n", done.stderr
    done = single.run("python", "-c", "open('/app/new', 'w')")
    assert "Read-only file system: '/app/new'" in done.stderr
    for folder in ("/data", "/tmp"):  # noqa: S108 - the container's own
        assert single.run("python", "-c", f"open('{folder}/new', 'w')").stderr == ""


def test_it_refuses_to_start_without_secrets(image: Image, tmp_path: Path) -> None:
    container = Container(image, tmp_path, {})
    done = container.run(*image.entry_point, *image.command)
    assert done.returncode != 0
    assert (
        done.stderr
        == "cartwright: SECRET_KEY must be set to a random text of at least 32 characters when DEBUG is off.\n"
    )


class TestOnItsOwn:
    """In the order in which they are written: the last one stops the shop."""

    def test_the_walk_through(self, single: Container, admin: Client) -> None:
        walk_through(single, admin)

    def test_the_health_check(self, single: Container, image: Image) -> None:
        done = single.run(*image.health_check)
        assert (done.returncode, done.stderr) == (0, "")
        assert '"status": "ok"' in done.stdout
        single.environment["PORT"], port = "1", single.environment["PORT"]
        done = single.run(*image.health_check)
        single.environment["PORT"] = port
        assert done.returncode == 1
        assert done.stderr.startswith("Nothing answers at port 1: ")

    def test_pages_and_their_files(self, single: Container) -> None:
        """Chinese, whose translations are compiled; styles, which are collected from packages."""
        page = requests.get(f"{single.url}/admin/login/", headers={"Accept-Language": "zh-hans"}, timeout=30)
        assert "登录" in page.text
        for path in ("/static/admin/css/base.css", "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css"):
            assert requests.get(f"{single.url}{path}", timeout=30).status_code == 200
        assert requests.get(f"{single.url}/api/docs/", timeout=30).status_code == 200
        assert requests.get(f"{single.url}/api/schema/?format=json", timeout=60).json()["openapi"].startswith("3.1")

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
    def test_pictures(self, single: Container, admin: Client, kind: str) -> None:
        file = BytesIO()
        Picture.new("RGB", (64, 48), "teal").save(file, kind)
        files = {"image": (f"lamp.{kind.lower()}", file.getvalue())}
        headers = {"Authorization": f"Bearer {admin.access_token}"}
        url = f"{single.url}/api/v1/products/{admin.product(stock=1)}/images"
        answer = requests.post(url, files=files, headers=headers, timeout=60)
        assert answer.status_code == 201, answer.text
        assert requests.get(answer.json()["url"], timeout=30).status_code == 200

    def test_sigterm_ends_it_and_nothing_was_refused(self, single: Container) -> None:
        assert single.stop() == 0
        log = single.log.read_text()
        assert not any(sentence in log for sentence in REFUSED), log[-3000:]


def test_on_real_stores(image: Image, production: dict[str, str], tmp_path: Path) -> None:
    """PostgreSQL, Redis, workers, a bucket and Stripe's client: what is loaded only then is there, too."""
    redis_url, queues = needs_redis(), f"image-{secrets.token_hex(4)}-"
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    requests.put(f"http://{host}:{port}/pictures", timeout=30)
    with new_postgres_database() as database_url:
        stores = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "BROKER_URL": redis_url}
        environment = {
            **production,
            **stores,
            "QUEUE_PREFIX": queues,
            "MEDIA_STORAGE_URL": f"s3://pictures?endpoint_url=http://{host}:{port}&region=us-east-1",
            **{name.upper(): value for name, value in keys.items()},
        }
        shop = Container(image, tmp_path, environment)
        try:
            shop.manage("migrate_all")
            shop.start(("serve",), seconds=120)
            admin = shop.admin()
            walk_through(shop, admin)
            file = BytesIO()
            Picture.new("RGB", (64, 48), "teal").save(file, "PNG")
            url = f"{shop.url}/api/v1/products/{admin.product(stock=1)}/images"
            headers = {"Authorization": f"Bearer {admin.access_token}"}
            answer = requests.post(url, files={"image": ("lamp.png", file.getvalue())}, headers=headers, timeout=60)
            assert answer.status_code == 201, answer.text
            bucket = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)
            assert answer.json()["url"].rpartition("/")[2] in str(bucket.list_objects_v2(Bucket="pictures"))
            pays = "import stripe; print(stripe.StripeClient('sk_test_none', max_network_retries=0).v1.payment_intents)"
            assert "PaymentIntentService" in shop.run("python", "-c", pays).stdout
            assert shop.stop() == 0
        finally:
            shop.kill()
            server.stop()
            remove_queues(redis_url, queues)
