"""Whether this shop is about to stop: it says so to whoever sends it requests, and goes on to answer them for a while.

Said by the supervisor to all processes below it, in a file that each of them can look for.
"""

import os
import secrets
from pathlib import Path

_VARIABLE = "SHOP_DRAINING"


def prepare(folder: Path) -> None:
    """Name the file to this process and to those that it starts. Shops that share a folder have a name each."""
    os.environ[_VARIABLE] = str(folder / f"draining-{secrets.token_hex(8)}")


def begin() -> None:
    Path(os.environ[_VARIABLE]).touch()


def end() -> None:
    Path(os.environ[_VARIABLE]).unlink(missing_ok=True)


def is_on() -> bool:
    """Whether it has begun; never where no supervisor has prepared it."""
    mark = os.environ.get(_VARIABLE)
    return mark is not None and os.path.exists(mark)  # noqa: PTH110 - a Path made for each question costs more than the answer
