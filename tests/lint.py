"""`make lint UV`: every check that needs no test, one line each; the output of those that fail, and one verdict."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor


def main(uv: str) -> int:
    manage = [sys.executable, "manage.py"]
    checks = {
        "style (ruff check)": ["ruff", "check", "--quiet"],
        "format (ruff format)": ["ruff", "format", "--check", "--quiet"],
        "types (mypy)": ["mypy", "--no-error-summary"],
        "boundaries (lint-imports)": ["lint-imports", "--no-logo"],
        "protos (buf lint)": ["buf", "lint"],
        "protos keep what they promised (buf breaking)": ["buf", "breaking", "--against", "grpc_api/promised.binpb"],
        "generated code (make proto)": [sys.executable, "-m", "grpc_api.generate", "--check"],
        "docs/permissions.md (python -m tests.permissions)": [sys.executable, "-m", "tests.permissions", "--check"],
        "docs/problems.md (python -m config.problems)": [sys.executable, "-m", "config.problems", "--check"],
        "migrations (makemigrations --check)": [*manage, "makemigrations", "--check", "--dry-run"],
        "migrations that every release can work with": [sys.executable, "-m", "tests.migrations"],
        "settings and models (manage.py check)": [*manage, "check", "--fail-level", "WARNING"],
        "image (hadolint)": ["hadolint", "deploy/Dockerfile"],
        "lock file (uv lock --check)": [uv, "lock", "--check"],
    }
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(_run, checks.values())
        failed = []
        for name, result in zip(checks, results, strict=True):
            print(f"{name:<50} {'FAILED' if result.returncode else 'ok'}", flush=True)
            if result.returncode:
                failed.append(name)
                print(f"\n{result.stdout.strip()}\n", flush=True)
    if failed:
        print(f"lint failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
