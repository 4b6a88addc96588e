"""CSV as spreadsheets write it: in which encoding, and divided by what. `apps/common/cells.py` writes it.

A file is read before any of its rows counts: what is wrong with the file as a whole, such as a quote that is never
closed, refuses all of it. A row that is wrong in itself is a matter of that row.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from django.conf import settings

from apps.common.errors import InvalidInput, TooLarge

MAX_ROWS = 50_000
MAX_COLUMNS = 1_000
_DELIMITERS = ",;\t"
_ENCODINGS = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "cp1252": "cp1252", "iso8859-1": "cp1252", "ascii": "utf-8-sig"}
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


class UnreadableFile(InvalidInput):
    """The file is no CSV that can be read. Nothing of it was imported."""

    code = "unreadable_file"


@dataclass(frozen=True)
class Line:
    """A row of a file, with its number as a spreadsheet counts: the header is row 1."""

    number: int
    cells: Sequence[str]


@dataclass(frozen=True)
class Sheet:
    """A file whose header was read, and whose rows will be. Rows with nothing in them are left out."""

    delimiter: str
    header: Sequence[str]
    lines: Iterator[Line]


def read(content: bytes, charset: str | None = None) -> Sheet:
    """The file's header and rows.

    Raises:
        UnreadableFile: it is no CSV; reading `lines` may raise it, too.
        TooLarge: more than MAX_UPLOAD_MB; reading `lines` raises it after `MAX_ROWS`.
    """
    limit: int = settings.MAX_UPLOAD_BYTES
    if len(content) > limit:
        raise TooLarge(f"A file of more than {limit} bytes is not read. Divide it.")
    text = _decode(content, charset)
    # Without `strict`, a quote that is never closed would swallow the rows after it in silence.
    delimiter = _delimiter_of(text)
    records = _records(csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True))
    first = next(records, None)
    header = _trim(first.cells) if first else []
    if not header:
        raise UnreadableFile("The file is empty: its first row names the columns.")
    if len(header) > MAX_COLUMNS:
        raise UnreadableFile(f"The file has {len(header)} columns; at most {MAX_COLUMNS} are read.")
    return Sheet(delimiter, header, _lines(records, len(header)))


def _decode(content: bytes, charset: str | None) -> str:
    if content.startswith(_WORKBOOKS):
        raise UnreadableFile("This is a workbook, not CSV. Save it as “CSV UTF-8” first.")
    encoding = _encoding_of(content, charset)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(
            f"Line {line} is not in {error.encoding.upper()}. Save the file as “CSV UTF-8”, or declare its charset."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UnreadableFile(f"Line {line} holds a NUL character: this is no text.")
    return text


def _encoding_of(content: bytes, charset: str | None) -> str:
    """What the file begins with decides; then what was declared; else it is UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if content.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    try:
        return _ENCODINGS[codecs.lookup(charset or "utf-8").name]
    except LookupError:
        known = "UTF-8, UTF-16 and Windows-1252"
        raise UnreadableFile(f"The charset {charset} is not read; {known} are.") from None


def _delimiter_of(text: str) -> str:
    """The one that the header uses most, outside of quotes; a comma if there is none."""
    header = re.sub(r'"[^"]*"', "", text[:10_000]).lstrip("\r\n").splitlines()[:1]
    return max(_DELIMITERS, key=(header or [""])[0].count)


def _records(reader: Iterator[list[str]]) -> Iterator[Line]:
    """What the file holds, numbered as a spreadsheet numbers it: a cell with line breaks is in one row."""
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableFile(
                f"Row {number} cannot be read ({error}). Is a quotation mark missing, or single where it should be "
                "doubled? Nothing was imported."
            ) from error
        if any(cell.strip() for cell in cells):
            yield Line(number, cells)


def _lines(records: Iterator[Line], width: int) -> Iterator[Line]:
    for count, line in enumerate(records, start=1):
        if count > MAX_ROWS:
            raise TooLarge(f"A file of more than {MAX_ROWS} rows is not read. Divide it.")
        # Spreadsheets leave empty cells behind columns that were deleted.
        surplus = any(cell.strip() for cell in line.cells[width:])
        yield line if surplus else Line(line.number, line.cells[:width])


def _trim(cells: Sequence[str]) -> Sequence[str]:
    filled = [index for index, cell in enumerate(cells) if cell.strip()]
    return cells[: filled[-1] + 1] if filled else []
