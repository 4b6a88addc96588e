"""What a back-up asks of a store, of whatever kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path


class CannotCopy(Exception):
    """A store cannot be copied or restored; the sentence says why."""


class Store(ABC):
    """One database. A back-up calls `hold`, `fix` and `release` of all stores one after the other, and `count` and
    `copy` in its own time: both see the moment of `fix`, whatever is written meanwhile.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias

    @abstractmethod
    def hold(self) -> None:
        """Keep everybody from committing a change that another store hears of.

        Raises:
            CannotCopy: somebody has been writing for too long.
        """

    @abstractmethod
    def fix(self) -> None:
        """From now on what is read is what is there now."""

    @abstractmethod
    def release(self) -> None:
        """Let everybody go on."""

    @abstractmethod
    def count(self) -> Mapping[str, int]:
        """Table → how many rows it has."""

    @abstractmethod
    def copy(self, place: Path) -> None:
        """Write everything to `place`, a file or folder that is not there yet.

        Raises:
            CannotCopy: it failed.
        """

    @abstractmethod
    def restore(self, place: Path) -> None:
        """Read back what `copy` wrote, into an empty database: all or nothing, where the database can.

        Raises:
            CannotCopy: it failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Have done with it."""
