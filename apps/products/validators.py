"""What a product's free-form fields may hold, wherever they are typed in: REST, gRPC or the staff pages."""

from typing import Any

from django.core.exceptions import ValidationError

from apps.common.money import is_currency
from apps.common.validators import is_line

MAX_PICTURES = 20
MAX_ALT_LENGTH = 300
MAX_TAGS = 20
MAX_TAG_LENGTH = 50
MAX_ATTRIBUTES = 50
MAX_VALUE_LENGTH = 200
# What every JSON reader holds exactly. PostgreSQL gives larger ones back as integers that no JSON writer takes.
MAX_NUMBER = 2**53 - 1


def known_currency(code: str) -> None:
    """Refuses what is no ISO 4217 currency."""
    if not is_currency(code):
        raise ValidationError(f"{code} is not an ISO 4217 currency.", code="unknown_currency")


def valid_tags(tags: Any) -> None:  # noqa: ANN401 - JSON may be anything
    """Refuses what is no list of a few short lines."""
    if not isinstance(tags, list) or len(tags) > MAX_TAGS or not all(_is_line(tag, MAX_TAG_LENGTH) for tag in tags):
        raise ValidationError(
            f"Tags are a list of at most {MAX_TAGS} texts of 1 to {MAX_TAG_LENGTH} characters.", code="invalid_tags"
        )


def valid_attributes(attributes: Any) -> None:  # noqa: ANN401 - JSON may be anything
    """Refuses what is no flat object of a few short values."""
    if (
        not isinstance(attributes, dict)
        or len(attributes) > MAX_ATTRIBUTES
        or not all(_is_line(key, MAX_TAG_LENGTH) and _is_scalar(value) for key, value in attributes.items())
    ):
        raise ValidationError(
            f"Attributes are an object of at most {MAX_ATTRIBUTES} names of 1 to {MAX_TAG_LENGTH} characters; each "
            f"value is a text of at most {MAX_VALUE_LENGTH} characters, a number of at most {MAX_NUMBER}, true, false "
            "or null.",
            code="invalid_attributes",
        )


def _is_line(value: object, length: int) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= length and is_line(value)


def _is_scalar(value: object) -> bool:
    if isinstance(value, (int, float)):
        return abs(value) <= MAX_NUMBER  # false for NaN
    if isinstance(value, str):
        return len(value) <= MAX_VALUE_LENGTH and is_line(value)
    return value is None
