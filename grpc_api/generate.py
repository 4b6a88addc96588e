"""`make proto`: put into `gen/` what protoc makes of `protos/`; with --check, only say what would differ."""

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

_HERE = Path(__file__).resolve().parent
_PROTOS = _HERE / "protos"
_GENERATED = _HERE / "gen"
# By this name modules are generated that can be imported from where they are.
_PACKAGE = "grpc_api/gen"
DESCRIPTORS = "descriptors.binpb"


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        kept = _files(_GENERATED)
        if arguments == ["--check"]:
            stale = sorted({name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name)})
            if stale:
                print(f"grpc_api/gen differs from what the protos say: {', '.join(stale)}. Run `make proto`.")
            return 1 if stale else 0
        for name in kept.keys() - made.keys():
            (_GENERATED / name).unlink()
        for name, content in made.items():
            (_GENERATED / name).write_bytes(content)
    return 0


def generate(folder: Path) -> dict[str, bytes]:
    """Modules, their types and one descriptor set of all services, by file name.

    Raises:
        SystemExit: protoc refuses a file; it has said why.
    """
    (folder / _PACKAGE).mkdir(parents=True)
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={_PACKAGE}={_PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            f"--mypy_out=quiet:{folder}",
            f"--mypy_grpc_out=quiet:{folder}",
            "--include_imports",
            f"--descriptor_set_out={folder / _PACKAGE / DESCRIPTORS}",
            *(str(path) for path in sorted(_PROTOS.glob("*.proto"))),
        ]
    )
    if code:
        raise SystemExit(code)
    return _files(folder / _PACKAGE)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "__init__.py"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
