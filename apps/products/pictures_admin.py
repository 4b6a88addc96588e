"""Pictures on the staff's page of a product: what is there, in its order, and room for more."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.files.base import File
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import CHECKBOX_CLASSES, INPUT_CLASSES

from apps.common.admin import ModelAdmin
from apps.common.errors import DomainError
from apps.common.validators import no_control_characters, single_line
from apps.products.interface import Image, ImagePlace
from apps.products.validators import MAX_ALT_LENGTH
from config import services

_Row = dict[str, str]
_ACCEPTED = "image/jpeg,image/png,image/webp,image/gif,image/avif"


class PicturesWidget(forms.Widget):
    """A line for each picture: how it looks, what is said of it, its place, and whether it goes."""

    template_name = "products/pictures.html"
    images: Sequence[Image] = ()

    def get_context(self, name: str, value: Any, attrs: Mapping[str, Any] | None) -> dict[str, Any]:  # noqa: ANN401 - as in Django
        known = {str(image.id): image for image in self.images}
        rows = [(row, known[row["id"]]) for row in value or () if row["id"] in known]
        media = settings.MEDIA_URL
        lines = [{**row, "url": media + image.url, "small": media + image.thumbnails.small} for row, image in rows]
        return {
            "name": name,
            "lines": lines,
            "max_length": MAX_ALT_LENGTH,
            "field_class": " ".join(INPUT_CLASSES),
            "box_class": " ".join(CHECKBOX_CLASSES),
        }

    def value_from_datadict(self, data: QueryDict, files: object, name: str) -> list[_Row]:  # type: ignore[override]
        return [
            {
                "id": key,
                "alt": data.get(f"{name}-alt-{key}", ""),
                "place": data.get(f"{name}-place-{key}", ""),
                "delete": data.get(f"{name}-delete-{key}", ""),
            }
            for key in data.getlist(f"{name}-id")
        ]


class PicturesField(forms.Field):
    """The pictures that a product has, as staff want them."""

    widget = PicturesWidget

    def __init__(self) -> None:
        super().__init__(label=_("Pictures"), required=False)

    def clean(self, value: list[_Row]) -> list[_Row]:
        alt = forms.CharField(
            required=False, max_length=MAX_ALT_LENGTH, validators=[no_control_characters, single_line]
        )
        place = forms.IntegerField(min_value=0, max_value=999)
        keys = [forms.UUIDField().clean(row["id"]) for row in value]
        rows = [
            (place.clean(row["place"]), {**row, "id": str(key), "alt": alt.clean(row["alt"])})
            for key, row in zip(keys, value, strict=True)
        ]
        return [row for _, row in sorted(rows, key=lambda each: each[0])]


class FilesInput(forms.FileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of files."""

    def __init__(self) -> None:
        super().__init__(
            label=_("Add pictures"),
            required=False,
            widget=FilesInput(attrs={"accept": _ACCEPTED, "class": " ".join(["staff-files", *INPUT_CLASSES])}),
            help_text=_("Several at once, together at most %(megabytes)s MB.")
            % {"megabytes": settings.MAX_UPLOAD_BYTES // 2**20},
        )

    def clean(self, data: Any, initial: Any = None) -> list[File[bytes]]:  # noqa: ANN401 - as in Django
        return [super(FilesField, self).clean(file, initial) for file in data or ()]


def rows_of(images: Sequence[Image]) -> list[_Row]:
    """What the form shows of pictures."""
    return [
        {"id": str(image.id), "alt": image.alt, "place": str(place), "delete": ""}
        for place, image in enumerate(images, start=1)
    ]


class PicturesAdmin(ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter
    """Does with pictures what the form says, once the rest of it is saved: drawing thumbnails and writing files takes
    longer than a transaction may.
    """

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: ANN401, FBT001 - as in Django
        super().save_related(request, form, formsets, change)
        request.pictures = partial(self._save_pictures, request, form.instance.pk, form)  # type: ignore[attr-defined]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        response = super().changeform_view(request, object_id, form_url, extra_context)
        if response.status_code == HTTPStatus.FOUND and hasattr(request, "pictures"):
            request.pictures()
        return response

    def _save_pictures(self, request: HttpRequest, product_id: UUID, form: forms.BaseForm) -> None:
        if "pictures" in form.changed_data:
            self._say(request, gettext("Pictures"), partial(_rearrange, product_id, form.cleaned_data["pictures"]))
        for file in form.cleaned_data["new_pictures"]:
            self._say(request, str(file.name), partial(_add, product_id, file))

    def _say(self, request: HttpRequest, what: str, do: Callable[[], object]) -> None:
        try:
            do()
        except DomainError as refusal:
            self.message_user(request, f"{what}: {refusal}", messages.ERROR)


def _add(product_id: UUID, file: File[bytes]) -> None:
    services.products().add_image(product_id=product_id, content=file.read())


def _rearrange(product_id: UUID, rows: Sequence[_Row]) -> None:
    for row in rows:
        if row["delete"]:
            services.products().delete_image(product_id=product_id, image_id=UUID(row["id"]))
    places = [ImagePlace(UUID(row["id"]), row["alt"]) for row in rows if not row["delete"]]
    services.products().arrange_images(product_id=product_id, places=places)
