"""What a username may look like."""

import unicodedata

from django.core.exceptions import ValidationError

_LINE_SEPARATORS = frozenset({"Zl", "Zp"})


def check_username(text: str) -> None:
    """Refuse what could pass for somebody's e-mail address at log-in, and characters that nobody can see.

    Raises:
        ValidationError: the username has an `@`, a control, format or unassigned character, or a line separator.
    """
    categories = {unicodedata.category(character) for character in text}
    if "@" in text or categories & _LINE_SEPARATORS or any(category.startswith("C") for category in categories):
        raise ValidationError("A username has no @ and no invisible characters.", code="invalid_username")
