"""Writing CSV for spreadsheets: cells that are no formula, and that no program takes for something else."""

import csv
import re
from collections.abc import Iterable, Sequence
from io import StringIO

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"

# What a spreadsheet takes for a formula, or for a number or a date, and would run or spoil: an apostrophe before it
# says that it is a text. One that was there already gets another, so that each text has a form of its own.
_AT_RISK = re.compile(
    r"""
    '* (?: \s*[=+\-@\uff1d\uff0b\uff0d\uff20] | [\t\r\n]
         | (?: 0\d+ | \d{12,} | \d+[eE]\d+ | \d{1,4}[-/.]\d{1,2} (?: [-/.]\d{1,4} )? ) \Z )
    """,
    re.VERBOSE,
)


def write(rows: Iterable[Sequence[str]], delimiter: str = ",") -> str:
    """The rows as CSV (RFC 4180), their cells as they are."""
    text = StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


def guard(text: str) -> str:
    """The text as a cell that no spreadsheet runs or rewrites."""
    return f"'{text}" if _AT_RISK.match(text) else text


def bare(cell: str) -> str:
    """The text that a cell stands for: what `guard` has added is gone, and so is white space around it."""
    text = cell.strip()
    text = text[1:] if text.startswith("'") and _AT_RISK.match(text[1:]) else text
    return text.replace("\r\n", "\n").replace("\r", "\n")
