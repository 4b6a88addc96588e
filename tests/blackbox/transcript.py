"""What was said: every exchange, freed of what differs between two runs, so that runs can be compared."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from itertools import zip_longest
from typing import Any

# What a client goes by. Others (Date, Server, Content-Length, a proxy's own) say nothing about the API.
HEADERS = (
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Cache-Control",
    "Content-Disposition",
    "Content-Security-Policy",
    "Content-Type",
    "Cross-Origin-Opener-Policy",
    "ETag",
    "Idempotent-Replayed",
    "Link",
    "Location",
    "Referrer-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Accel-Buffering",
    "X-Content-Type-Options",
    "X-Frame-Options",
)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?=Z|\+00:00)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# By design a client's address is that of whoever stands before the shop: a proxy, unless the shop trusts it.
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])")
_CURSOR = re.compile(r"(?<=cursor=)[^&\"\s>]+")
_FILE = re.compile(r"(?:(?<=/media/)[\w/.-]+|\b[0-9a-f]{32}(?:-\w+)*)(?=\.\w+)")
# Values that the shop makes up, by the name of their field.
_MADE_UP = {"sku", "number", "transaction_id", "access", "refresh", "secret", "client_secret", "kid", "n"}
_MEASURED = {"duration_ms", "next_attempt_at"}


class Labels:
    """Names for what differs from run to run: `{order1}` is the first order of the scenario."""

    def __init__(self, *, bases: Iterable[str], token: str) -> None:
        self._bases = sorted(bases, key=len, reverse=True)
        self._token = token
        self._names: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def branch(self) -> "Labels":
        """The same names, to be added to without adding to these."""
        branch = Labels(bases=self._bases, token=self._token)
        branch._names, branch._counts = dict(self._names), Counter(self._counts)
        return branch

    def name(self, kind: str, value: str) -> str:
        """The name of this value, given to it at its first mention."""
        if value not in self._names:
            self._counts[kind] += 1
            self._names[value] = f"{{{kind}{self._counts[kind]}}}"
        return self._names[value]

    def in_text(self, text: str) -> str:
        """The text with names in place of all that was named, and of ids, times, addresses and cursors."""
        for base in self._bases:
            text = text.replace(base, "{shop}")
        made_up = [value for value in self._names if value in text and not _UUID.fullmatch(value)]
        for value in sorted(made_up, key=len, reverse=True):
            text = text.replace(value, self._names[value])
        text = _UUID.sub(lambda match: self.name("id", match[0]), text)
        text = _DAY.sub("{day}", _TIME.sub("{time}", text))
        text = _FILE.sub("{file}", _CURSOR.sub("{cursor}", text))
        return re.sub(self._token, "{run}", _ADDRESS.sub("{address}", text), flags=re.IGNORECASE)

    def in_json(self, value: Any, kind: str, key: str = "") -> Any:  # noqa: ANN401 - JSON is any of them
        """The same for a value of JSON; `kind` is what an `id` in it is the id of."""
        if isinstance(value, dict):
            return {name: self.in_json(value[name], _kind_below(kind, name), name) for name in sorted(value)}
        if isinstance(value, list):
            return [self.in_json(one, kind, key) for one in value]
        if key in _MEASURED:
            return "{measured}"
        return self._in_value(value, kind, key) if isinstance(value, str) and value else value

    def _in_value(self, value: str, kind: str, key: str) -> str:
        if key in _MADE_UP:
            return self.name(key, value)
        if _UUID.fullmatch(value):
            return self.name(kind if key == "id" else key.removesuffix("_id"), value)
        return self.in_text(value)


def _kind_below(kind: str, name: str) -> str:
    """What an `id` below this field is the id of."""
    return kind if name in {"results", "id"} else {"categories": "category"}.get(name, name.removesuffix("s"))


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, without what differs from run to run."""

    caller: str
    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: Any

    def lines(self) -> Iterator[str]:
        """As text, for reading and for comparing."""
        yield f"{self.method} {self.path}  (as {self.caller})"
        yield f"  {self.status}"
        yield from (f"  {name}: {value}" for name, value in self.headers.items())
        body = self.body if isinstance(self.body, str) else json.dumps(self.body, indent=1, ensure_ascii=False)
        yield from (f"  {line}" for line in body.splitlines())


@dataclass
class Outcome:
    """What became of a scenario. `error` says what was wrong, `left_out` why it could not be played."""

    name: str
    exchanges: list[Exchange] = field(default_factory=list)
    error: str = ""
    left_out: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        return "FAILED" if self.error else "left out" if self.left_out else "ok"


@dataclass
class Transcript:
    """A whole run."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> Sequence[str]:
        """What was wrong, a line for each scenario that failed."""
        return [f"{outcome.name}: {outcome.error}" for outcome in self.outcomes if outcome.error]


def compare(one: Transcript, other: Transcript) -> Sequence[str]:
    """How two runs differ, in lines to be read; none when they are equal.

    A scenario that either run had to leave out is not compared: its outcome says so.
    """
    ours, theirs = ({outcome.name: outcome for outcome in run.outcomes} for run in (one, other))
    lines: list[str] = []
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in ours or name not in theirs:
            lines.append(f"{name}: only one of the runs has this scenario")
        elif not ours[name].left_out and not theirs[name].left_out:
            lines += _compare(ours[name], theirs[name])
    return lines


def _compare(one: Outcome, other: Outcome) -> Iterator[str]:
    """How two playings of a scenario differ, exchange by exchange."""
    if one.error != other.error:
        yield f"{one.name}: {one.verdict} {one.error} / {other.verdict} {other.error}"
    for number, (ours, theirs) in enumerate(zip_longest(one.exchanges, other.exchanges), 1):
        if ours != theirs:
            said, heard = (list(each.lines()) if each else [] for each in (ours, theirs))
            what = (said or heard)[0]
            yield from unified_diff(
                said, heard, f"{one.name}, {number}: {what}", "the other", n=len(said + heard), lineterm=""
            )
