"""Texts become words in Python, so that every database finds the same.

Case, accents and punctuation are gone before a database sees a text. Chinese and Japanese have no spaces: a run becomes
overlapping pairs of characters and its last character, so that 手机 is found inside 智能手机, and one character as the
beginning of a pair.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from apps.products.models import Product

MAX_QUERY_TOKENS = 20
# What `index()` writes.
FIELDS = ("name_key", "search_title", "search_body")
_MAX_TOKEN_LENGTH = 64
# One character may become eighteen; an index of PostgreSQL has no room for that.
_MAX_KEY_LENGTH = 600

_CJK = r"\u3005-\u3007\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_RUN = re.compile(rf"(?P<cjk>[{_CJK}]+)|(?:(?![{_CJK}])[^\W_])+")
# Letters that Unicode does not decompose, though people type them without the stroke.
_PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)


@dataclass(frozen=True)
class Term:
    """Something that a product must have: a token, or one that begins like it. Letters and digits only."""

    token: str
    is_prefix: bool


def normalise(text: str) -> list[str]:
    """The tokens of a text, as they are stored: words, and pairs of CJK characters with the last one alone."""
    tokens: list[str] = []
    for run, is_cjk in _runs(text):
        tokens += [*_pairs(run), run[-1]] if is_cjk else [run[:_MAX_TOKEN_LENGTH]]
    return tokens


def terms(text: str) -> list[Term]:
    """The terms of a query. A pair of CJK characters is wanted exactly; anything else is the beginning of a token."""
    found: dict[Term, None] = {}
    for run, is_cjk in _runs(text):
        if is_cjk and len(run) > 1:
            found.update(dict.fromkeys(Term(pair, is_prefix=False) for pair in _pairs(run)))
        else:
            found[Term(run[:_MAX_TOKEN_LENGTH], is_prefix=True)] = None
    return list(found)[:MAX_QUERY_TOKENS]


def sort_key(name: str) -> str:
    """What a list by name is ordered by: words without case and accents, then, for names that differ in these only, the
    name itself.
    """
    return " ".join([*(run for run, _ in _runs(name)), name])[:_MAX_KEY_LENGTH]


def index(row: Product) -> None:
    """Write into the row what lists and searches find it by."""
    category = row.category.name if row.category else ""
    row.name_key = sort_key(row.name)
    row.search_title = " ".join(normalise(f"{row.name} {row.sku}"))
    row.search_body = " ".join(normalise("\n".join([row.description, *row.tags, category])))


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """The words of a text without case and accents, each with whether it is a run of CJK characters."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_PLAIN)
    plain = "".join(character for character in folded if unicodedata.category(character) != "Mn")
    for run in _RUN.finditer(plain):
        yield run[0], run["cjk"] is not None


def _pairs(run: str) -> list[str]:
    return [run[index : index + 2] for index in range(len(run) - 1)]
