"""Copy Debian's packages that the shop runs on, and what they need, into a folder: `python3 deploy/root.py FOLDER`.

What is not among them, such as a package manager, perl, tools for passwords and mounts, is not in the image: a third of
Debian's size, and most of its reports of weaknesses. Scanners find what is there, as Debian's own list is kept for it.
deploy/Dockerfile runs this.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# base-files and base-passwd bring folders and users; libstdc++6 is for wheels; dash is the `sh` to look around in.
WANTED = ("base-files", "base-passwd", "ca-certificates", "dash", "libstdc++6", "python3", "tini", "tzdata")
# They are depended on for installing only.
NOT_WANTED = {"debconf", "debianutils", "dpkg", "libdebconfclient0", "libselinux1", "openssl"}
# For people; for characters other than Unicode's, of which Python has its own; for tests of Python itself.
UNREAD = (
    *(
        "usr/share/info/",
        "usr/share/lintian/",
        "usr/share/locale/",
        "usr/share/man/",
        "usr/lib/x86_64-linux-gnu/gconv/",
    ),
    *("usr/lib/python3.11/pydoc_data/", "usr/lib/python3.11/test/", "usr/bin/tini-static"),
)
# What was made while packages were installed, and belongs to none.
MADE = ("etc/ca-certificates.conf", "etc/group", "etc/ld.so.cache", "etc/passwd", "etc/ssl/certs", "usr/lib/python3.11")
STATUS = "var/lib/dpkg/status"
MERGED = ("bin", "lib", "lib64", "sbin")


def main(folder: str) -> None:
    root, source = Path(folder), Path("/")
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    packages = closure(WANTED, dependencies())
    for path in files(packages):
        copy(source, root, path)
    for name in MADE:
        made = [path.relative_to(source) for path in (source / name, *sorted((source / name).rglob("*")))]
        for path in made:
            if not str(path).startswith(UNREAD):
                copy(source, root, path)
    paragraphs = (source / STATUS).read_text().split("\n\n")
    kept = [text for text in paragraphs if text and re.match(r"Package: (\S+)", text)[1] in packages]  # type: ignore[index]
    (root / STATUS).parent.mkdir(parents=True, exist_ok=True)
    (root / STATUS).write_text("\n\n".join(kept) + "\n")


def dependencies() -> dict[str, set[str]]:
    """What each package that is installed needs; of alternatives those that are installed."""
    output = _dpkg_query("-W", "-f", "${Package}\t${Pre-Depends}, ${Depends}\n")
    lines = [line.split("\t") for line in output.splitlines()]
    installed = {name for name, _ in lines}
    return {name: set(re.findall(r"(?:^|[,|] *)([a-z0-9][a-z0-9+.-]+)", needs)) & installed for name, needs in lines}


def closure(wanted: Iterable[str], needs: Mapping[str, set[str]]) -> set[str]:
    """The packages, and all that they need."""
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in found | NOT_WANTED:
            found.add(name)
            waiting += needs[name]
    return found


def files(packages: Iterable[str]) -> Iterator[Path]:
    """What the packages have brought, but for what is read by people only."""
    for line in sorted(set(_dpkg_query("-L", *sorted(packages)).splitlines())):
        name = line.removeprefix("/").removeprefix(".")
        is_doc = name.startswith("usr/share/doc/") and not name.endswith("/copyright")
        if name and not name.startswith(UNREAD) and not is_doc:
            yield Path(name)


def copy(source: Path, root: Path, path: Path) -> None:
    """With its mode and time; a folder without what is in it."""
    origin, target = source / path, root / path
    if target.is_symlink() or target.exists() or not (origin.exists() or origin.is_symlink()):
        return
    if origin.is_dir() and not origin.is_symlink():
        target.mkdir(parents=True)
        target.chmod(origin.stat().st_mode)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(origin, target, follow_symlinks=False)


def _dpkg_query(*arguments: str) -> str:
    return subprocess.run(["dpkg-query", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603, S607


if __name__ == "__main__":
    main(*sys.argv[1:])
