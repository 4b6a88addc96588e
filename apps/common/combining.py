"""Group commit: what the threads of a process ask for at the same time is done in one go, for all of them.

A database spends most of a short transaction on its commit, and everybody who wants the same row waits for that.
(DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984, section 5.2.)
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError

_Wish = TypeVar("_Wish")
_Answer = TypeVar("_Answer")

MOST = 64
_NO_ANSWER = object()


class _Ticket(Generic[_Wish, _Answer]):
    """A caller's place in the line. Its gate opens when it is answered, or when it is its turn to lead."""

    __slots__ = ("answer", "gate", "wish")

    def __init__(self, wish: _Wish) -> None:
        self.wish = wish
        self.answer: _Answer | BaseException | object = _NO_ANSWER
        self.gate = threading.Lock()
        self.gate.acquire()


class Combiner(Generic[_Wish, _Answer]):
    """Has `fulfil` do what several threads wish, all at once; each gets its own answer, or its own error.

    The first caller does it, for itself at once; those that come meanwhile wait, and the first of them does it for
    all that have come by then, at most `MOST`. Nobody waits for others to come, nor does the work of others twice.

    `fulfil` answers in the order of the wishes, with an error where there is one. If it raises, each wish is tried by
    itself, unless the database is away: so it must have had no effect, or be safe to repeat.
    """

    def __init__(self, fulfil: Callable[[Sequence[_Wish]], Sequence[_Answer | Exception]]) -> None:
        self._fulfil = fulfil
        self._lock = threading.Lock()
        self._line: deque[_Ticket[_Wish, _Answer]] = deque()
        self._is_led = False

    def ask(self, wish: _Wish) -> _Answer:
        """The answer to the wish.

        Raises:
            Exception: whatever became of this wish.
        """
        ticket: _Ticket[_Wish, _Answer] = _Ticket(wish)
        with self._lock:
            self._line.append(ticket)
            leads, self._is_led = not self._is_led, True
        if not leads:
            ticket.gate.acquire()
        if ticket.answer is _NO_ANSWER:
            self._lead()
        if isinstance(ticket.answer, BaseException):
            raise ticket.answer
        return ticket.answer  # type: ignore[return-value] # the leader has answered

    def _lead(self) -> None:
        """Answer those at the head of the line, of whom the caller is the first, and pass the lead on."""
        with self._lock:
            batch = [self._line.popleft() for _ in range(min(MOST, len(self._line)))]
        try:
            answers: Sequence[_Answer | BaseException] = self._answers([ticket.wish for ticket in batch])
        except BaseException as error:
            answers = [error] * len(batch)
            raise
        finally:
            for ticket, answer in zip(batch, answers, strict=True):
                ticket.answer = answer
            with self._lock:
                successor = self._line[0] if self._line else None
                self._is_led = successor is not None
            for ticket in [*batch[1:], *([successor] if successor else [])]:
                ticket.gate.release()

    def _answers(self, wishes: Sequence[_Wish]) -> Sequence[_Answer | BaseException]:
        try:
            return self._fulfil(wishes)
        except (OperationalError, InterfaceError) as error:
            return [error] * len(wishes)
        except Exception as error:  # noqa: BLE001 - it is raised where it belongs
            if len(wishes) == 1:
                return [error]
        return [answer for wish in wishes for answer in self._answers([wish])]
