"""What comes in, and for the OpenAPI document what goes out (which `representation.py` makes)."""

import re
from typing import Any

from django.core.validators import validate_unicode_slug
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework_dataclasses.serializers import DataclassSerializer

from apps.common.api.fields import AmountField, CurrencyField, LineField, TextField
from apps.common.api.serializers import InputSerializer, QueryInput
from apps.products.interface import Category, Facets, Image, Ordering, StockLevel, StockMovement
from apps.products.models import MAX_STOCK
from apps.products.services.checking import MAX_ATTRIBUTE_FILTERS, MAX_QUERY_LENGTH
from apps.products.services.selection import Suggestion
from apps.products.validators import (
    MAX_ALT_LENGTH,
    MAX_PICTURES,
    MAX_TAG_LENGTH,
    MAX_TAGS,
    MAX_VALUE_LENGTH,
    valid_attributes,
)

_SLUG = "Letters and digits of any script, hyphens and underscores."
_ATTRIBUTE = re.compile(r"attributes\[(.+)\]", re.DOTALL)
ORDERINGS = tuple(each.value for each in Ordering)


class ImageSchema(DataclassSerializer[Image]):
    class Meta:
        dataclass = Image


class ImageInput(InputSerializer):
    image = serializers.FileField()
    alt = LineField(max_length=MAX_ALT_LENGTH, default="", allow_blank=True, help_text="What the picture shows.")


class ImageChangeInput(InputSerializer):
    alt = LineField(max_length=MAX_ALT_LENGTH, allow_blank=True, help_text="What the picture shows.")


class ImagePlaceInput(InputSerializer):
    id = serializers.UUIDField()
    alt = LineField(max_length=MAX_ALT_LENGTH, allow_blank=True, required=False, help_text="Stays when left out.")


class ArrangementInput(InputSerializer):
    images = serializers.ListField(child=ImagePlaceInput(), max_length=MAX_PICTURES)


class ProductInput(InputSerializer):
    """A product as staff write it. What only the shop sets is known, so that a product that was read can be sent back,
    and ignored.
    """

    name = LineField(max_length=200)
    description = TextField(max_length=10_000, required=False, allow_blank=True)
    price = AmountField()
    currency = CurrencyField(required=False)
    category = LineField(max_length=100, required=False, allow_blank=True, allow_null=True)
    stock = serializers.IntegerField(min_value=0, max_value=MAX_STOCK, required=False)
    sku = LineField(max_length=64, required=False, allow_blank=True, allow_null=True)
    tags = serializers.ListField(child=LineField(max_length=MAX_TAG_LENGTH), max_length=MAX_TAGS, required=False)
    attributes = serializers.DictField(validators=[valid_attributes], required=False)
    group = LineField(max_length=64, required=False, allow_blank=True, help_text="Variants of one thing share it.")
    active = serializers.BooleanField(required=False, initial=True)
    id = serializers.UUIDField(read_only=True)
    category_id = serializers.UUIDField(read_only=True)
    images = ImageSchema(many=True, read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def validate_category(self, category: str | None) -> str:
        """Null and the empty text both mean: in no category."""
        return category or ""

    def validate_sku(self, sku: str | None) -> str | None:
        """Null and the empty text both mean: the shop's choice."""
        return sku or None


# A function, as Django's pattern says \w, which is ASCII only in the dialect of OpenAPI documents.
def valid_slug(text: str) -> None:
    validate_unicode_slug(text)


class CategoryInput(InputSerializer):
    name = LineField(max_length=100)
    slug = serializers.CharField(
        max_length=100, validators=[valid_slug], required=False, allow_blank=True, allow_null=True, help_text=_SLUG
    )
    parent_id = serializers.UUIDField(required=False, allow_null=True)
    id = serializers.UUIDField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def validate_slug(self, slug: str | None) -> str | None:
        """Null and the empty text both mean: the shop's choice."""
        return slug or None


class StockAdjustInput(InputSerializer):
    """Either by how much stock changes, or what it is; and why."""

    delta = serializers.IntegerField(min_value=-MAX_STOCK, max_value=MAX_STOCK, required=False)
    on_hand = serializers.IntegerField(min_value=0, max_value=MAX_STOCK, required=False)
    reason = LineField(max_length=200)

    def validate_delta(self, delta: int) -> int:
        if not delta:
            raise serializers.ValidationError("A change of nothing is none.", code="zero")
        return delta

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("delta" in attrs) == ("on_hand" in attrs):
            raise serializers.ValidationError("Give either delta or on_hand.")
        return attrs


class FiltersInput(QueryInput):
    category = LineField(max_length=100, required=False, help_text="An id, a slug or a name; with all below it.")
    min_price = AmountField(required=False)
    max_price = AmountField(required=False)
    tag = LineField(max_length=MAX_TAG_LENGTH, required=False)
    in_stock = serializers.BooleanField(required=False)
    group = LineField(max_length=64, required=False, help_text="Only variants of this group.")
    active = serializers.BooleanField(required=False, help_text="For catalogue staff, who also see inactive products.")


class ListInput(FiltersInput):
    ordering = serializers.ChoiceField(choices=ORDERINGS, required=False, help_text="Newest first by default.")


class SearchInput(FiltersInput):
    q = serializers.CharField(
        max_length=MAX_QUERY_LENGTH,
        default="",
        allow_blank=True,
        help_text="Words, or beginnings of words, in any order.",
    )
    ordering = serializers.ChoiceField(
        choices=("relevance", *ORDERINGS), required=False, help_text="Best match first by default."
    )


class SuggestInput(QueryInput):
    q = serializers.CharField(max_length=100, default="", allow_blank=True, help_text="What has been typed so far.")
    limit = serializers.IntegerField(min_value=1, max_value=20, default=8)


def read_attributes(request: Request) -> dict[str, list[str]]:
    """The conditions on attributes: `?attributes[colour]=red&attributes[colour]=blue`, one of the values must fit.

    Raises:
        ValidationError: too many, or too long.
    """
    found = {match[1]: values for key, values in request.query_params.lists() if (match := _ATTRIBUTE.fullmatch(key))}
    wanted = {name: [text for text in values if text] for name, values in found.items()}
    texts = [text for values in wanted.values() for text in values]
    is_long = any(len(text) > MAX_VALUE_LENGTH for text in texts) or any(len(name) > MAX_TAG_LENGTH for name in wanted)
    if is_long or len(texts) > MAX_ATTRIBUTE_FILTERS:
        detail = (
            f"At most {MAX_ATTRIBUTE_FILTERS} values of attributes can be asked for, none of them longer than any is."
        )
        raise serializers.ValidationError({"attributes": [detail]})
    return {name: values for name, values in wanted.items() if values}


class CategoriesInput(QueryInput):
    parent_id = serializers.UUIDField(required=False, help_text="Only the categories directly below this one.")


class ProductSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    price = AmountField()
    currency = serializers.CharField()
    category = serializers.CharField(allow_null=True)
    category_id = serializers.UUIDField(allow_null=True)
    group = serializers.CharField(help_text="Variants of one thing share it.")
    stock = serializers.IntegerField(help_text="What can be sold now: on hand less reserved.")
    sku = serializers.CharField()
    images = ImageSchema(many=True)
    tags = serializers.ListField(child=serializers.CharField())
    attributes = serializers.DictField()
    active = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class FacetsSchema(DataclassSerializer[Facets]):
    class Meta:
        dataclass = Facets


class SearchPageSchema(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = ProductSchema(many=True)
    facets = FacetsSchema()


class SuggestionSchema(DataclassSerializer[Suggestion]):
    class Meta:
        dataclass = Suggestion


class SuggestionsSchema(serializers.Serializer[Any]):
    results = SuggestionSchema(many=True)


class VariantsSchema(serializers.Serializer[Any]):
    group = serializers.CharField()
    attributes = serializers.DictField(
        child=serializers.ListField(), help_text="The attributes in which the variants differ, with their values."
    )
    results = ProductSchema(many=True)


class CategorySchema(DataclassSerializer[Category]):
    class Meta:
        dataclass = Category


class StockLevelSchema(DataclassSerializer[StockLevel]):
    available = serializers.IntegerField()

    class Meta:
        dataclass = StockLevel


class StockMovementSchema(DataclassSerializer[StockMovement]):
    class Meta:
        dataclass = StockMovement
