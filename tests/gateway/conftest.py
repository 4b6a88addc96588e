"""The services behind the gateway, and the gateway as it is rendered."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.gateway.checks")

from tests.gateway.gateway import Backend, Running, running  # noqa: E402 - after what it says


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    backend = Backend(tmp_path_factory.mktemp("backend"))
    yield backend
    backend.stop()


@pytest.fixture(scope="session")
def whole_gateway(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One Envoy for all tests that leave it as it is."""
    with running(backend, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _clean_backend(backend: Backend) -> Iterator[None]:
    backend.reset()
    yield
    backend.reset()


@pytest.fixture
def gateway(whole_gateway: Running) -> Running:
    """As a client sees it who has not been here before."""
    return whole_gateway.newcomer()
