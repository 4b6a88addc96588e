"""The catalogue's staff pages. They change nothing by themselves: saving and deleting call the service."""

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from apps.common.admin import amount_column
from apps.common.money import quantize
from apps.common.validators import is_too_deep
from apps.events.admin import FailedDeliveryAdmin, OutboxAdmin
from apps.products.bulk_admin import BulkAdmin
from apps.products.interface import NewProduct, ProductChange
from apps.products.interface import StockLevel as Level
from apps.products.models import MAX_STOCK, Category, Product, ProductsEvent, ProductsFailedDelivery
from apps.products.pages_admin import PageAdmin, ServiceAdmin, ServiceForm
from apps.products.pictures_admin import FilesField, PicturesAdmin, PicturesField, rows_of
from apps.products.search.hits import Hits
from apps.products.services.announcing import to_image
from apps.products.services.categories import ancestors_of, fold
from apps.products.services.levels import levels_of
from apps.products.services.supply import Supply, in_supply, supply_of
from apps.products.stock_admin import KIND_TONES, CorrectStockAdmin, movements_of
from apps.products.transfer.admin import TransferAdmin
from config import services

# How many rows a search finds at most.
_FOUND = 5000
_SIBLINGS = 20


@admin.register(Category)
class CategoryAdmin(ServiceAdmin):
    form = ServiceForm
    fields = ("name", "slug", "parent")
    list_display = ("in_tree", "slug", "parent")
    list_select_related = ("parent",)
    search_fields = ("name", "slug")
    autocomplete_fields = ("parent",)
    # Each below its parent: a path begins with that of the category above.
    ordering = ("path",)

    @admin.display(description=_("name"), ordering="path")
    def in_tree(self, category: Category) -> str:
        depth = len(ancestors_of(category.path)) - 1
        return format_html(
            '<span style="padding-left: {}rem">{}{}</span>', 1.5 * depth, "↳ " if depth else "", category.name
        )

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401, FBT001, FBT002 - as in Django
        form = super().get_form(request, obj, change, **kwargs)
        if "slug" in form.base_fields:
            form.base_fields["slug"].required = False
            form.base_fields["slug"].help_text = _("Made from the name when empty.")
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


_EMPTY = {
    "sku": _("The number by which you know it. Made from the name when empty."),
    "currency": _("The shop's own when empty."),
}


class ProductForm(ServiceForm):
    """A product, and its first stock when it is made. Later its stock is corrected on a page of its own."""

    tags = forms.CharField(
        label=_("Tags"),
        required=False,
        max_length=1200,
        help_text=_("Divided by commas."),
        widget=UnfoldAdminTextInputWidget,
    )
    attributes = forms.JSONField(
        label=_("Attributes"),
        required=False,
        decoder=BoundedDecoder,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text=_('What customers can choose by, as in {"colour": "red", "size": 42}.'),
    )
    stock = forms.IntegerField(
        label=_("Stock"),
        min_value=0,
        max_value=MAX_STOCK,
        required=False,
        help_text=_("The first stock: how many there are now."),
        widget=UnfoldAdminIntegerFieldWidget,
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
        labels = {
            "name": _("Name"),
            "sku": _("SKU"),
            "description": _("Description"),
            "price": _("Price"),
            "currency": _("Currency"),
            "category": _("Category"),
            "group": _("Group"),
            "active": _("For sale"),
        }
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 5})}
        help_texts = {
            "group": _("Variants of one thing share it, as in “linen-shirt”."),
            "active": _("Customers see it and can order it."),
        }

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
                self.fields[name].help_text = _EMPTY[name]

    def clean_tags(self) -> list[str]:
        return [tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()]

    def clean_attributes(self) -> dict[str, Any]:
        return self.cleaned_data["attributes"] or {}

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


class SupplyFilter(admin.SimpleListFilter):
    """How much of a product there is."""

    title = _("stock")
    parameter_name = "supply"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        return [
            (Supply.IN_STOCK, _("In stock")),
            (Supply.LOW, _("Low, at most %(most)s") % {"most": settings.LOW_STOCK_THRESHOLD}),
            (Supply.SOLD_OUT, _("Sold out")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Product]) -> QuerySet[Product]:
        value = self.value()
        return in_supply(queryset, Supply(value)) if value in set(Supply) else queryset


class CategoryFilter(admin.SimpleListFilter):
    """Categories as the tree they are; one stands for all below it."""

    title = _("category")
    parameter_name = "category"
    _MOST = 300

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        self._tree = list(Category.objects.order_by("path")[: self._MOST])
        return [
            (str(row.pk), "\N{NO-BREAK SPACE}" * 4 * (len(ancestors_of(row.path)) - 1) + row.name) for row in self._tree
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Product]) -> QuerySet[Product]:
        chosen = next((row for row in self._tree if str(row.pk) == self.value()), None)
        if chosen is None:
            return queryset
        return queryset.filter(category__in=[row.pk for row in self._tree if row.path.startswith(chosen.path)])


_SUPPLY_TONES = {Supply.IN_STOCK: "success", Supply.LOW: "warning", Supply.SOLD_OUT: "danger"}


@admin.register(Product)
class ProductAdmin(TransferAdmin, PicturesAdmin, BulkAdmin, CorrectStockAdmin, PageAdmin, ServiceAdmin):
    form = ProductForm
    list_display = ("picture", "name_and_category", "number", amount_column("price"), "stock_now", "sale", "changed")
    list_display_links = ("name_and_category",)
    list_filter = ("active", SupplyFilter, CategoryFilter)
    list_select_related = ("category",)
    search_fields = ("name", "sku")
    search_help_text = _("Words of the name, or the beginning of the SKU.")
    autocomplete_fields = ("category",)
    readonly_fields = ("stock_panel", "variants", "created_at", "updated_at")
    warn_unsaved_form = True
    # Each is a row of its own for every picture.
    private_fields = ("pictures",)
    _BASICS = ("name", "sku", "description", ("price", "currency"), "category")
    _DETAILS = ("group", "tags", "attributes")

    def get_fieldsets(self, request: HttpRequest, obj: Product | None = None) -> Any:  # noqa: ANN401 - as in Django
        if obj is None:
            return [
                (None, {"fields": (*self._BASICS, "stock", "new_pictures", "active")}),
                (_("Variants and details"), {"fields": self._DETAILS, "classes": ["collapse"]}),
            ]
        details = (*self._DETAILS, "variants", "read_revision", "created_at", "updated_at")
        return [
            (_("Product"), {"fields": (*self._BASICS, "active"), "classes": ["tab"]}),
            (_("Pictures"), {"fields": ("pictures", "new_pictures"), "classes": ["tab"]}),
            (_("Stock"), {"fields": ("stock_panel",), "classes": ["tab"]}),
            (_("Variants and details"), {"fields": details, "classes": ["tab"]}),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Product]:
        rows: QuerySet[Product] = super().get_queryset(request)
        return rows.filter(deleted_at=None)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Product], search_term: str
    ) -> tuple[QuerySet[Product], bool]:
        """By the index that customers search by, which no part of a word would find, and by the index of SKUs."""
        if not search_term.strip():
            return queryset, False
        live = Product.objects.filter(deleted_at=None).order_by()
        found = Hits(search_term, live, only_titles=True).first(_FOUND)
        return queryset.filter(Q(pk__in=found) | Q(sku_folded__startswith=fold(search_term))), False

    def look_up(self, rows: Sequence[Product]) -> None:
        levels = levels_of([row.pk for row in rows])
        for row in rows:
            row.level = levels.get(row.pk)  # type: ignore[attr-defined] # for the column

    @admin.display(description=_("picture"))
    def picture(self, product: Product) -> str:
        image = to_image(product.images[0]) if product.images else None
        address = settings.MEDIA_URL + image.thumbnails.small if image else ""
        return render_to_string("admin/products/product/thumbnail.html", {"address": address, "product": product})

    @admin.display(description=_("name"), ordering="name_key")
    def name_and_category(self, product: Product) -> str:
        line = '<span class="block font-medium">{}</span><span class="block font-normal text-subtle text-xs">{}</span>'
        return format_html(line, product.name, product.category or "")

    @admin.display(description=_("SKU"), ordering="sku_folded")
    def number(self, product: Product) -> str:
        return product.sku

    @admin.display(description=_("changed"), ordering="updated_at")
    def changed(self, product: Product) -> str:
        return date_format(localtime(product.updated_at), "DATE_FORMAT")

    @display(description=_("stock"), label=_SUPPLY_TONES)  # type: ignore[untyped-decorator] # the theme has no types
    def stock_now(self, product: Product) -> tuple[Supply, str]:
        level: Level | None = getattr(product, "level", None)
        available = level.available if level else 0
        return supply_of(available), _supply_text(available)

    @display(description=_("shop"), ordering="active", label={True: "success", False: "plain"})  # type: ignore[untyped-decorator] # as above
    def sale(self, product: Product) -> tuple[bool, str]:
        return product.active, gettext("For sale") if product.active else gettext("Hidden")

    @admin.display(description=_("stock"))
    def stock_panel(self, product: Product) -> str:
        context = {
            "level": services.products().get_stock(product_id=product.pk),
            "movements": movements_of(product.pk),
            "tones": KIND_TONES,
            "correct": reverse("admin:products_product_correct_stock", args=[product.pk]),
            "ledger": f"{reverse('admin:products_stockmovement_changelist')}?q={product.pk}",
        }
        return render_to_string("admin/products/product/stock.html", context)

    @admin.display(description=_("variants"))
    def variants(self, product: Product) -> str:
        """The others of its group."""
        others = Product.objects.filter(group=product.group, deleted_at=None).exclude(pk=product.pk).order_by("pk")
        rows = list(others[:_SIBLINGS]) if product.group else []
        if not rows:
            return gettext("None: no other product has this group.")
        lines = (
            (reverse("admin:products_product_change", args=[row.pk]), row.name, row.sku, *_price(row)) for row in rows
        )
        line = '<a class="font-medium text-primary-600 dark:text-primary-500" href="{}">{}</a> · {} · {} {}'
        return format_html_join(mark_safe("<br>"), line, lines)

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:  # noqa: ANN401, FBT001 - as in Django
        if not change:
            obj.id = services.products().create_product(new=form.to_new(), actor_id=request.user.pk).id
            return
        revision = form.cleaned_data["read_revision"]
        services.products().update_product(product_id=obj.id, change=form.to_change(), if_revision=revision)

    def delete_model(self, request: HttpRequest, obj: Product) -> None:
        services.products().delete_product(product_id=obj.id)


def _supply_text(available: int) -> str:
    match supply_of(available):
        case Supply.SOLD_OUT:
            return gettext("Sold out")
        case Supply.LOW:
            return gettext("Low: %(units)s") % {"units": available}
        case Supply.IN_STOCK:
            return gettext("In stock: %(units)s") % {"units": available}


def _price(product: Product) -> tuple[str, str]:
    return str(quantize(product.price, product.currency)), product.currency


@admin.register(ProductsEvent)
class ProductsEventAdmin(OutboxAdmin):
    service = "products"


@admin.register(ProductsFailedDelivery)
class ProductsFailedDeliveryAdmin(FailedDeliveryAdmin):
    service = "products"
