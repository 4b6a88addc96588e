"""What no input of a shop holds, wherever it is typed in: REST, gRPC or the staff pages."""

import re

from django.core.exceptions import ValidationError

# Deep enough for everything we read, and far from where a JSON reader or writer fails.
MAX_DEPTH = 32

# C0 and C1 controls, line and paragraph separators, what turns the direction of the text around it, and halves of
# characters (surrogates), which nobody can write in UTF-8. Joiners stay: emoji and the scripts of India and Iran are
# written with them.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAK = re.compile(r"[\t\r\n]")


# Functions, as the OpenAPI document would give a RegexValidator's pattern as what the text must match.
def no_control_characters(text: str) -> None:
    """Refuses what no text needs.

    Raises:
        ValidationError: with the code `control_characters`.
    """
    if _CONTROL.search(text):
        raise ValidationError("Control characters are not allowed.", code="control_characters")


def single_line(text: str) -> None:
    """Refuses what would make several lines.

    Raises:
        ValidationError: with the code `control_characters`.
    """
    if _BREAK.search(text):
        raise ValidationError("Line breaks and tabs are not allowed here.", code="control_characters")


def is_text(text: str) -> bool:
    """Whether no control character is in it."""
    return not _CONTROL.search(text)


def is_line(text: str) -> bool:
    """Whether neither rule refuses the text."""
    return is_text(text) and not _BREAK.search(text)


def is_too_deep(data: object) -> bool:
    """Whether lists and objects are nested in more than `MAX_DEPTH` levels."""
    level = [data]
    for _ in range(MAX_DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list)))
        level = [part for parts in inner for part in parts]
        if not level:
            return False
    return any(isinstance(part, (dict, list)) for part in level)
