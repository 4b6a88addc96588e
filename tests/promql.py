"""What a PromQL expression asks for: its metrics, with the labels that it names.

A tokeniser, and no more of a parser than that takes; that the whole is PromQL, `promtool` says.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# A recorded name has colons; a selector follows its metric, if any.
_TOKEN = re.compile(
    r"""
    (?P<space>\s+|\#[^\n]*)
  | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
  | (?P<range>\[[^\]]*\])
  | (?P<number>(?:0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:ms|[smhdwy])?)
  | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
  | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^=<>(){},@])
    """,
    re.VERBOSE,
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"})


class NotUnderstood(Exception):
    """An expression cannot be read."""


@dataclass(frozen=True)
class Matcher:
    """`label operator "value"`."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True)
class Selector:
    """A metric, and what its labels must be."""

    metric: str
    matchers: tuple[Matcher, ...] = ()


@dataclass
class Expression:
    """The metrics of an expression, and the labels by which it groups or joins."""

    selectors: list[Selector] = field(default_factory=list)
    grouping: set[str] = field(default_factory=set)

    @property
    def metrics(self) -> set[str]:
        return {selector.metric for selector in self.selectors}


def read(text: str) -> Expression:
    """
    Raises:
        NotUnderstood: this is no PromQL, or more of it than is looked for here.
    """
    tokens = list(_tokens(text))
    found, at = Expression(), 0
    while at < len(tokens):
        kind, token = tokens[at]
        follows = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if kind != "name":
            if token == "{":
                raise NotUnderstood(f"A selector without a metric: {text}")
            continue
        word = token.lower()
        if word in _GROUPING:
            if follows == "(":
                end = _end(tokens, ")", at)
                found.grouping |= {name for each, name in tokens[at:end] if each == "name"}
                at = end + 1
        elif follows == "{":
            end = _end(tokens, "}", at)
            found.selectors.append(Selector(token, tuple(_matchers(tokens[at + 1 : end]))))
            at = end + 1
        elif follows != "(" and word not in _WORDS and not _is_aggregation(tokens, at):
            found.selectors.append(Selector(token))
    return found


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise NotUnderstood(f"{text[at : at + 20]!r} in {text}")
        if match.lastgroup != "space":
            yield match.lastgroup, match[0]
        at = match.end()


def _end(tokens: list[tuple[str, str]], sign: str, at: int) -> int:
    try:
        return tokens.index(("sign", sign), at)
    except ValueError:
        raise NotUnderstood(f"{sign} is missing") from None


def _is_aggregation(tokens: list[tuple[str, str]], at: int) -> bool:
    """Whether what comes before is the name of an aggregation: `sum by (job) (…)`."""
    return at < len(tokens) and tokens[at][1].lower() in {"by", "without"}


def _matchers(tokens: list[tuple[str, str]]) -> Iterator[Matcher]:
    rest = [token for token in tokens if token != ("sign", ",")]
    for (_, label), (_, operator), (kind, value) in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        if kind != "string":
            raise NotUnderstood(f"{value} is no string")
        yield Matcher(label, operator, value[1:-1])
