"""What other systems rely on cannot be taken away unnoticed."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]


def breaking(house: Path) -> int:
    command = ["buf", "breaking", "--against", str(ROOT / "grpc_api" / "promised.binpb")]
    return subprocess.run(command, cwd=house, check=False, capture_output=True).returncode  # noqa: S603


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the protos that a test may damage."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "grpc_api" / "protos", tmp_path / "grpc_api" / "protos")
    return tmp_path


@pytest.mark.parametrize(
    ("before", "after", "is_refused"),
    [
        ("bool valid = 1;", "bool valid = 1;", False),
        ("bool valid = 1;", "bool valid = 1;\n  string name = 9;", False),
        ("bool valid = 1;", "bool valid = 7;", True),
        ("  bool valid = 1;\n", "", True),
        ("rpc ValidateToken(", "rpc CheckToken(", True),
    ],
)
def test_a_promise_is_kept(house: Path, before: str, after: str, is_refused: bool) -> None:
    proto = house / "grpc_api" / "protos" / "user.proto"
    text = proto.read_text()
    assert before in text
    proto.write_text(text.replace(before, after))
    assert (breaking(house) != 0) == is_refused
