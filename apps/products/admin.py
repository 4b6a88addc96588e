"""The catalogue's staff pages. They change nothing by themselves: saving and deleting call the service."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from apps.common.admin import ModelAdmin, ReadOnlyAdmin, amount_column
from apps.common.databases import atomic
from apps.common.errors import DomainError
from apps.common.money import quantize
from apps.common.validators import is_too_deep, no_control_characters, single_line
from apps.events.admin import FailedDeliveryAdmin, OutboxAdmin
from apps.products.interface import NewProduct, ProductChange
from apps.products.interface import StockLevel as Level
from apps.products.models import (
    MAX_STOCK,
    Category,
    Product,
    ProductsEvent,
    ProductsFailedDelivery,
    Reservation,
    StockLevel,
    StockMovement,
)
from apps.products.pictures_admin import FilesField, PicturesAdmin, PicturesField, rows_of
from apps.products.services.announcing import to_image
from apps.products.services.levels import levels_of
from apps.products.services.reserved import unpack
from apps.products.transfer.admin import TransferAdmin
from config import services

_Row = TypeVar("_Row", bound=Model)


class ServiceForm(forms.ModelForm):  # type: ignore[type-arg] # Django's own class takes no parameter
    """A form that shows what the service refused."""

    refusal: DomainError | None = None

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for problem in self.refusal.problems if self.refusal else ():
            self.add_error(problem.attr if problem.attr in self.fields else None, problem.detail)
        return cleaned


class CategorySelect(AutocompleteSelect):
    """Shows the form again with what was chosen, unless that is no id."""

    def optgroups(self, name: str, value: Sequence[str], attr: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - as in Django
        return super().optgroups(name, [each for each in value if _is_id(each)], attr)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


class ServiceAdmin(ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter
    """Pages whose saving may be refused by the service: the form is shown again, with what was typed and why not."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except DomainError as refusal:
            # Django saves after it has validated: the transaction is gone, and the form is now invalid.
            request.refusal = refusal  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except DomainError as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return HttpResponseRedirect("../change/")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401, FBT001, FBT002 - as in Django
        form = super().get_form(request, obj, change, **kwargs)
        form.refusal = getattr(request, "refusal", None)  # type: ignore[attr-defined] # it is a ServiceForm
        return form

    def formfield_for_foreignkey(self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:  # noqa: ANN401 - as in Django
        return super().formfield_for_foreignkey(
            db_field, request, widget=CategorySelect(db_field, self.admin_site), **kwargs
        )

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        for row in queryset:
            try:
                self.delete_model(request, row)
            except DomainError as refusal:
                self.message_user(request, f"{row}: {refusal}", messages.ERROR)


class PageList(ChangeList):
    """A list that looks up what belongs to the rows of its page: products may be elsewhere than their stock."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        self.model_admin.look_up(self.result_list)  # type: ignore[attr-defined] # it is a PageAdmin


class PageAdmin(ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter
    """Pages with such a list."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ANN401 - as in Django
        return PageList

    def look_up(self, rows: Sequence[Any]) -> None:
        """Give the rows what their columns show, in one query."""
        raise NotImplementedError


@admin.register(Category)
class CategoryAdmin(ServiceAdmin):
    form = ServiceForm
    fields = ("name", "slug", "parent")
    list_display = ("name", "slug", "parent")
    list_select_related = ("parent",)
    search_fields = ("name", "slug")
    autocomplete_fields = ("parent",)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401, FBT001, FBT002 - as in Django
        form = super().get_form(request, obj, change, **kwargs)
        if "slug" in form.base_fields:
            form.base_fields["slug"].required = False
            form.base_fields["slug"].help_text = "Made from the name when empty."
        return form

    def save_model(self, request: HttpRequest, obj: Category, form: Any, change: bool) -> None:  # noqa: ANN401, FBT001 - as in Django
        name, slug, parent_id = obj.name, obj.slug or None, obj.parent_id
        if change:
            services.products().update_category(
                category_id=obj.id, name=name, slug=slug, move="parent" in form.changed_data, parent_id=parent_id
            )
        else:
            obj.id = services.products().create_category(name=name, slug=slug, parent_id=parent_id).id

    def delete_model(self, request: HttpRequest, obj: Category) -> None:
        services.products().delete_category(category_id=obj.id)


class BoundedDecoder(json.JSONDecoder):
    """Says that it is no JSON where Python, reading it or writing it back, would fail: many levels, many digits."""

    def decode(self, s: str, *args: Any) -> Any:  # noqa: ANN401 - as in json
        try:
            data = super().decode(s, *args)
        except (RecursionError, ValueError) as error:
            raise json.JSONDecodeError("Cannot be read", s, 0) from error
        if is_too_deep(data):
            raise json.JSONDecodeError("Nested too deeply", s, 0)
        return data


class ProductForm(ServiceForm):
    """A product, its first stock when it is made, and an adjustment of its stock later."""

    tags = forms.CharField(required=False, max_length=1200, help_text="Divided by commas.")
    attributes = forms.JSONField(required=False, decoder=BoundedDecoder)
    stock = forms.IntegerField(min_value=0, max_value=MAX_STOCK, required=False, help_text="The first stock.")
    stock_delta = forms.IntegerField(
        label="Add to stock",
        required=False,
        validators=[MinValueValidator(-MAX_STOCK), MaxValueValidator(MAX_STOCK)],
        help_text="Negative to take away.",
    )
    stock_reason = forms.CharField(
        label="Reason", required=False, max_length=200, validators=[no_control_characters, single_line]
    )
    read_revision = forms.IntegerField(required=False, widget=forms.HiddenInput)
    pictures = PicturesField()
    new_pictures = FilesField()

    class Meta:
        model = Product
        fields = (
            "name",
            "sku",
            "description",
            "price",
            "currency",
            "category",
            "group",
            "tags",
            "attributes",
            "active",
        )
        labels = {"sku": "SKU"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in Django
        super().__init__(*args, **kwargs)
        self.initial["tags"] = ", ".join(self.instance.tags)
        self.initial["read_revision"] = self.instance.revision
        images = [to_image(entry) for entry in self.instance.images]
        self.initial["pictures"] = rows_of(images)
        if "pictures" in self.fields:
            self.fields["pictures"].widget.images = images
        if self.instance.price is not None:
            self.initial["price"] = quantize(self.instance.price, self.instance.currency)
        for name in ("sku", "currency"):
            if name in self.fields:
                self.fields[name].required = False
                self.fields[name].help_text = "The shop's choice when empty."

    def clean_tags(self) -> list[str]:
        return [tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()]

    def clean_attributes(self) -> dict[str, Any]:
        return self.cleaned_data["attributes"] or {}

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.cleaned_data.get("stock_delta") and not self.cleaned_data.get("stock_reason"):
            self.add_error("stock_reason", "The ledger wants to know why.")
        return cleaned

    def to_new(self) -> NewProduct:
        data = self._common()
        return NewProduct(**data, sku=self.cleaned_data["sku"] or None, stock=self.cleaned_data.get("stock") or 0)

    def to_change(self) -> ProductChange:
        return ProductChange(**self._common(), sku=self.cleaned_data["sku"] or None)

    def _common(self) -> dict[str, Any]:
        """What making and changing a product have in common."""
        data = self.cleaned_data
        names = ("name", "description", "price", "group", "tags", "attributes", "active")
        same = {name: data[name] for name in names}
        category = str(data["category"].pk) if data["category"] else ""
        return {**same, "currency": data["currency"].upper() or None, "category": category}


@admin.register(Product)
class ProductAdmin(TransferAdmin, PicturesAdmin, PageAdmin, ServiceAdmin):
    form = ProductForm
    list_display = ("name", "sku", amount_column("price"), "stock_now", "active", "updated_at")
    list_filter = ("active", "currency", ("category", admin.RelatedOnlyFieldListFilter))
    search_fields = ("name", "sku")
    autocomplete_fields = ("category",)
    readonly_fields = ("stock_panel", "created_at", "updated_at")
    _CATALOGUE = (
        "name", "sku", "description", "price", "currency", "category", "group", "tags", "attributes", "active"
    )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: Product | None = None) -> Any:  # noqa: ANN401 - as in Django
        if obj is None:
            return [(None, {"fields": (*self._CATALOGUE, "stock", "new_pictures")})]
        return [
            (None, {"fields": (*self._CATALOGUE, "read_revision", "created_at", "updated_at")}),
            ("Pictures", {"fields": ("pictures", "new_pictures")}),
            ("Stock", {"fields": ("stock_panel", ("stock_delta", "stock_reason"))}),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Product]:
        rows: QuerySet[Product] = super().get_queryset(request)
        return rows.filter(deleted_at=None)

    def look_up(self, rows: Sequence[Product]) -> None:
        levels = levels_of([row.pk for row in rows])
        for row in rows:
            row.level = levels.get(row.pk)  # type: ignore[attr-defined] # for the column

    @admin.display(description="stock")
    def stock_now(self, product: Product) -> int:
        level: Level | None = getattr(product, "level", None)
        return level.available if level else 0

    @admin.display(description="now")
    def stock_panel(self, product: Product) -> str:
        level = services.products().get_stock(product_id=product.id)
        return f"{level.on_hand} on hand, {level.reserved} reserved for orders, {level.available} for sale"

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:  # noqa: ANN401, FBT001 - as in Django
        actor_id = request.user.pk
        if not change:
            obj.id = services.products().create_product(new=form.to_new(), actor_id=actor_id).id
            return
        delta, revision = form.cleaned_data["stock_delta"], form.cleaned_data["read_revision"]
        # Both or neither; the product last, for a document store does not roll back with the rest.
        with atomic("products"):
            if delta:
                reason = form.cleaned_data["stock_reason"]
                services.products().adjust_stock(product_id=obj.id, delta=delta, reason=reason, actor_id=actor_id)
            services.products().update_product(product_id=obj.id, change=form.to_change(), if_revision=revision)

    def delete_model(self, request: HttpRequest, obj: Product) -> None:
        services.products().delete_product(product_id=obj.id)


class AboutProducts(PageAdmin, ReadOnlyAdmin[_Row]):
    """Rows that belong to a product: the list names it, by its link."""

    def look_up(self, rows: Sequence[Any]) -> None:
        products = Product.objects.filter(pk__in={row.product_id for row in rows}).order_by()
        names = dict(products.values_list("pk", "name"))
        for row in rows:
            row.product_name = names.get(row.product_id, "")

    def product(self, row: Any) -> str:  # noqa: ANN401 - a row of any of the models
        address = reverse("admin:products_product_change", args=[row.product_id])
        return format_html('<a href="{}">{}</a>', address, row.product_name)


@admin.register(StockLevel)
class StockLevelAdmin(AboutProducts[StockLevel]):
    list_display = ("product_id", "product", "on_hand", "reserved")
    search_fields = ("product_id__exact",)
    ordering = ("product_id",)


@admin.register(StockMovement)
class StockMovementAdmin(AboutProducts[StockMovement]):
    list_display = ("created_at", "product", "delta", "kind", "reason", "order_id")
    list_filter = ("kind",)
    search_fields = ("product_id__exact", "order_id__exact")


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin[Reservation]):
    list_display = fields = ("order_id", "contents", "state", "expires_at")
    list_filter = ("state",)
    search_fields = ("order_id__exact",)
    ordering = ("-expires_at", "-pk")

    def contents(self, row: Reservation) -> str:
        return ", ".join(f"{line.quantity} {line.name}" for line in unpack(row))


@admin.register(ProductsEvent)
class ProductsEventAdmin(OutboxAdmin):
    service = "products"


@admin.register(ProductsFailedDelivery)
class ProductsFailedDeliveryAdmin(FailedDeliveryAdmin):
    service = "products"
