"""The image without a container engine: carries out deploy/Dockerfile in a clean root, and runs what comes out.

The few instructions that the file uses are understood, any other is refused. Debian is made by debootstrap, less what
debian:bookworm-slim leaves out too. Needs root, as `chroot` and mounts do.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

import psutil

from tests.shop import ROOT, Shop

_CACHES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
# How a developer's own machine finds packages; nothing else of it gets in.
_PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "http_proxy", "https_proxy")
_CERTIFICATES = "/run/certificates.pem"
_MOUNT = re.compile(r"--mount=type=cache,target=/root/\.cache/(\w+) ")
_NOT_IN_SLIM = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
)


@dataclass(frozen=True)
class Instruction:
    """A line of a Dockerfile, its continuations joined."""

    name: str
    text: str

    def words(self) -> list[str]:
        """The words of a list as JSON, or else of a command line."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)


@dataclass(frozen=True)
class Image:
    """A file system, and how a container starts on it."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entry_point: Sequence[str] = ()
    command: Sequence[str] = ()
    health_check: Sequence[str] = ()

    def size(self) -> int:
        """The bytes of all files, which is what engines call an image's size; two names of one file count once."""
        found = {(stat.st_dev, stat.st_ino): stat.st_size for stat in map(Path.lstat, files_in(self.root))}
        return sum(found.values())


def files_in(folder: Path) -> Iterator[Path]:
    """Every file below it that is no link."""
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def instructions(dockerfile: str) -> list[Instruction]:
    """What the file says, without comments."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        name, _, text = line.partition(" ")
        found.append(Instruction(name, re.sub(" +", " ", text).strip()))
    return found


class Builder:
    """Carries out instructions, each stage in a folder of its own."""

    def __init__(self, workshop: Path) -> None:
        self._workshop = workshop
        self._stages: dict[str, Image] = {}
        self._arguments: dict[str, str] = {}
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        self._ignored = [line for line in ignored if line and not line.startswith("#")]

    def build(self, dockerfile: Path) -> Image:
        """The last stage."""
        image = Image(self._workshop)
        name = ""
        for each in instructions(dockerfile.read_text()):
            if each.name == "FROM":
                name, image = self._from(each.text)
            else:
                image = self._apply(image, each)
            self._stages[name] = image
        return image

    def _apply(self, image: Image, each: Instruction) -> Image:
        match each.name:
            case "ARG":
                name, _, value = each.text.partition("=")
                self._arguments[name] = value
            case "RUN":
                self._run(image, each.text)
            case "COPY":
                self._copy(image, each.words())
            case "WORKDIR":
                (image.root / each.text.lstrip("/")).mkdir(parents=True, exist_ok=True)
                return replace(image, folder=each.text)
            case _:
                return _configured(image, each)
        return image

    def _from(self, text: str) -> tuple[str, Image]:
        base, _, name = text.partition(" AS ")
        base = re.sub(r"\$\{(\w+)\}", lambda match: self._arguments[match[1]], base)
        root = self._workshop / (name or "image")
        if base == "scratch":
            root.mkdir()
            return name, Image(root)
        if base in self._stages:
            subprocess.run(["cp", "--archive", self._stages[base].root, root], check=True)
            return name, replace(self._stages[base], root=root)
        assert base == "debian:bookworm-slim", base
        _debootstrap(root)
        return name, Image(root, {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})

    def _run(self, image: Image, text: str) -> None:
        """As root with the network, in namespaces of its own: no mount outlives it."""
        caches = _MOUNT.findall(text)
        command = _MOUNT.sub("", text)
        root = shlex.quote(str(image.root))
        mounts = [
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs tmpfs {root}/run",
        ]
        for cache in caches:
            (_CACHES / cache).mkdir(parents=True, exist_ok=True)
            mounts += [
                f"mkdir -p {root}/root/.cache/{cache}",
                f"mount --bind {_CACHES / cache} {root}/root/.cache/{cache}",
            ]
        mounts += [f"touch {root}/etc/resolv.conf", f"mount --bind /etc/resolv.conf {root}/etc/resolv.conf"]
        environment = {**image.environment, **{name: os.environ[name] for name in _PASSED_ON if name in os.environ}}
        certificates = os.environ.get("SSL_CERT_FILE", "")
        if certificates:
            mounts.append(f"cp {certificates} {root}{_CERTIFICATES}")
            environment |= {"SSL_CERT_FILE": _CERTIFICATES, "PIP_CERT": _CERTIFICATES}
        inside = f"cd {image.folder} && {command}"
        steps = [*mounts, f"exec /usr/sbin/chroot {root} /bin/sh -c {shlex.quote(inside)}"]
        done = subprocess.run(
            ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-ec", "\n".join(steps)],
            env={**environment, "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"RUN {command}\n{done.stdout[-3000:]}"

    def _copy(self, image: Image, words: Sequence[str]) -> None:
        *sources, target = [word for word in words if not word.startswith("--")]
        stage = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), "")
        origin = self._stages[stage].root if stage else ROOT
        for source in sources:
            place = image.root / Path(image.folder, target).relative_to("/")
            path = origin / source.lstrip("/")
            if path.is_file():
                shutil.copy2(path, place / path.name if target.endswith("/") else place)
            elif stage:
                subprocess.run(["cp", "--archive", f"{path}/.", place], check=True)
            else:
                shutil.copytree(path, place, symlinks=True, ignore=self._ignore)

    def _ignore(self, folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(ROOT)
        return {
            name
            for name in names
            for pattern in self._ignored
            if fnmatch(name, pattern.removeprefix("**/")) and (pattern.startswith("**/") or inside == Path())
        }


def _configured(image: Image, each: Instruction) -> Image:
    """The image after an instruction that changes no file."""
    match each.name:
        case "ENV":
            return replace(image, environment={**image.environment, **dict(w.split("=", 1) for w in each.words())})
        case "USER":
            return replace(image, user=each.text)
        case "ENTRYPOINT":
            return replace(image, entry_point=each.words())
        case "CMD":
            return replace(image, command=each.words())
        case "HEALTHCHECK":
            return replace(image, health_check=Instruction("", each.text.partition("CMD ")[2]).words())
        case "EXPOSE" | "LABEL" | "STOPSIGNAL" | "VOLUME":
            return image
        case unknown:
            raise NotImplementedError(unknown)


def _debootstrap(root: Path) -> None:
    # As in Debian's images: what is lost with the machine's power is made again.
    (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
    (root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", "bookworm", str(root)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    for name in _NOT_IN_SLIM:
        shutil.rmtree(root / name, ignore_errors=True)


class Container(Shop):
    """The image's shop: not root, the tree read-only, /tmp in memory, and /data a folder of the test's."""

    def __init__(self, image: Image, data_dir: Path, environment: Mapping[str, str]) -> None:
        super().__init__(data_dir, environment)
        self._image = image
        self._data_dir = data_dir
        ours = {**self.environment, "DATA_DIR": "/data", "EMAIL_URL": "filemail:////data/mail"}
        for name in ("PATH", "HOME", "LANG"):
            ours.pop(name, None)
        self.environment = {**image.environment, **ours}
        self.log = data_dir.with_suffix(".log")
        user, _, group = image.user.partition(":")
        os.chown(data_dir, int(user), int(group))

    def command(self, *arguments: str) -> list[str]:
        """What `docker run --read-only --tmpfs /tmp --volume …:/data --entrypoint ARGUMENTS` would be here."""
        root, image = shlex.quote(str(self._image.root)), self._image
        inside = f"cd {image.folder} && exec {shlex.join(arguments)}"
        as_user = f"--userspec={image.user} --groups={image.user.partition(':')[2]}"
        steps = [
            f"mount --bind {root} {root}",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs tmpfs {root}/tmp",  # noqa: S108 - the container's own
            f"mount -t proc proc {root}/proc",
            f"mount --bind {shlex.quote(str(self._data_dir))} {root}/data",
            f"mount -o remount,bind,ro {root}",
            f"cd {root}",
            f"exec setpriv --no-new-privs /usr/sbin/chroot {as_user} {root} /bin/sh -c {shlex.quote(inside)}",
        ]
        return ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-ec", "\n".join(steps)]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command in a container of its own, to its end."""
        return subprocess.run(
            self.command(*arguments), env=self.environment, check=False, capture_output=True, text=True, timeout=120
        )

    def manage(self, *arguments: str) -> str:
        """What the entry point prints with these arguments; raises when it fails."""
        done = self.run(*self._image.entry_point, *arguments)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: Sequence[str] = (), *, seconds: float = 60) -> None:
        """The entry point with the image's own command, or another."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(*self._image.entry_point, *(command or self._image.command)),
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.wait_until_ready(seconds)

    def stop(self) -> int:
        """SIGTERM to process 1 of the container, as an engine does; the exit code, once everything is gone."""
        assert self._process is not None
        tree = self.processes()
        tree[1].send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=60)
        _, alive = psutil.wait_procs(tree[1:], timeout=5)
        assert alive == []
        return code
