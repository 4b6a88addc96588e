"""The products service over REST."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from apps.common.api.paging import NewestFirst, PagePagination
from apps.common.api.permissions import IsCatalogStaff, ReadOnlyOrCatalogStaff, has_role
from apps.common.api.schema import ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, refusal
from apps.common.errors import InvalidInput, Problem
from apps.common.paging import MAX_PAGE_SIZE
from apps.products import cache, models, popular
from apps.products.api import examples, quick
from apps.products.api.etags import is_fresh, revision_to_change, stocks_read
from apps.products.api.representation import (
    category_body,
    facets_body,
    here_of,
    level_body,
    movement_body,
    product_body,
)
from apps.products.api.serializers import (
    CategoriesInput,
    CategoryInput,
    CategorySchema,
    ListInput,
    ProductInput,
    ProductSchema,
    SearchInput,
    SearchPageSchema,
    StockAdjustInput,
    StockLevelSchema,
    StockMovementSchema,
    SuggestInput,
    SuggestionsSchema,
    VariantsSchema,
    read_attributes,
)
from apps.products.interface import NewProduct, Ordering, Product, ProductChange, ProductFilter
from apps.products.search.hits import Hits
from apps.products.services.announcing import to_products
from apps.products.services.categories import to_category
from apps.products.services.listing import facets_of, in_order, read_products
from apps.products.services.selection import differences, select_products, suggest, variants_of
from config import services

# What PUT gives to the fields that it does not name. SKU, currency and activity stay: they are not a form's to forget.
_PUT_DEFAULTS: dict[str, Any] = {"description": "", "category": "", "tags": (), "attributes": {}}
_PAGE = [OpenApiParameter("page", int), OpenApiParameter("page_size", int, description="20 by default, at most 100.")]


class StockNotEditable(InvalidInput):
    """Stock changes by adjustments, which the ledger keeps."""

    code = "stock_not_editable"


class ProductPages(GenericAPIView[models.Product]):
    """Pages of products, for everybody."""

    permission_classes = (ReadOnlyOrCatalogStaff,)
    queryset = models.Product.objects.all()
    pagination_class = PagePagination
    serializer_class = ProductInput


class ProductsView(ProductPages):
    """The catalogue."""

    @extend_schema(
        tags=["products"],
        summary="List products",
        parameters=[ListInput],
        responses=ProductSchema(many=True),
        examples=[examples.PRODUCT],
    )
    def get(self, request: Request) -> Response:
        query = ListInput.read(request)
        ordering = Ordering(query.pop("ordering", Ordering.NEWEST))
        generation = cache.generation()
        keys = in_order(select_products(_filters(query, request)), ordering)
        return _answer_page(self, request, self.paginate_queryset(keys) or [], generation)

    @extend_schema(
        tags=["products"],
        summary="Add a product",
        parameters=[ETAG, LOCATION],
        request=ProductInput,
        responses={201: ProductSchema, 409: refusal("sku_taken")},
        examples=[examples.NEW_PRODUCT, examples.PRODUCT],
    )
    def post(self, request: Request) -> Response:
        new = NewProduct(**ProductInput.read(request))
        product = services.products().create_product(new=new, actor_id=request.user.id)
        response = _answer(product, request, status.HTTP_201_CREATED)
        response["Location"] = reverse("product", args=[product.id], request=request)
        return response


class SearchView(ProductPages):
    """Full-text search."""

    @extend_schema(
        tags=["products"],
        summary="Search products",
        description="Best match first. The facets count all matches, not only those of the page; a price band holds "
        "what costs at least `min` and less than `max`.",
        parameters=[SearchInput, *_PAGE],
        responses=SearchPageSchema,
    )
    def get(self, request: Request) -> Response:
        query = SearchInput.read(request)
        text, ordering = query.pop("q"), query.pop("ordering", "relevance")
        generation = cache.generation()
        hits = Hits(text, select_products(_filters(query, request)))
        found = hits if ordering == "relevance" else in_order(hits.matching, Ordering(ordering))
        page = self.paginate_queryset(found) or []  # type: ignore[arg-type] # a paginator counts and slices
        return _answer_page(self, request, page, generation, facets=facets_body(facets_of(hits)))


class SuggestView(APIView):
    """What a search box offers while somebody types."""

    permission_classes = (ReadOnlyOrCatalogStaff,)

    @extend_schema(
        tags=["products"],
        summary="Suggest products and categories",
        description="Categories whose name begins with the text, then products that have its words in their name.",
        parameters=[SuggestInput],
        responses=SuggestionsSchema,
    )
    def get(self, request: Request) -> Response:
        query = SuggestInput.read(request)
        generation = cache.generation()
        answer = {"results": suggest(query["q"], query["limit"])}
        quick.keep(request, generation, answer)
        return Response(answer)


class PopularView(ProductPages):
    """What people look at and buy."""

    @extend_schema(
        tags=["products"],
        summary="List popular products",
        description="Most popular first, at most 100: views and sales count, and count half as much a week later.",
        responses=ProductSchema(many=True),
        examples=[examples.PRODUCT],
    )
    def get(self, request: Request) -> Response:
        generation = cache.generation()
        page = self.paginate_queryset(popular.top()) or []
        return _answer_page(self, request, page, generation)


class ProductView(APIView):
    """One product."""

    permission_classes = (ReadOnlyOrCatalogStaff,)

    @extend_schema(
        tags=["products"],
        summary="Get a product",
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: ProductSchema, 304: None},
        examples=[examples.PRODUCT],
    )
    def get(self, request: Request, product_id: UUID) -> Response:
        product = services.products().get_product(product_id=product_id, include_inactive=_is_staff(request))
        popular.count_view(product_id)
        if is_fresh(request, product.etag):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers=_cache_headers(product))
        return _answer(product, request)

    @extend_schema(
        tags=["products"],
        summary="Replace a product",
        description="Fields that are left out get their defaults, except `sku`, `currency` and `active`, which stay.",
        parameters=[IF_MATCH, ETAG],
        request=ProductInput,
        responses={200: ProductSchema, 409: refusal("sku_taken")},
        examples=[examples.NEW_PRODUCT, examples.PRODUCT],
    )
    def put(self, request: Request, product_id: UUID) -> Response:
        return self._update(request, product_id, {**_PUT_DEFAULTS, **ProductInput.read(request)})

    @extend_schema(
        tags=["products"],
        summary="Change a product",
        parameters=[IF_MATCH, ETAG],
        request=ProductInput,
        responses={200: ProductSchema, 409: refusal("sku_taken")},
        examples=[examples.PRODUCT_CHANGE, examples.PRODUCT],
    )
    def patch(self, request: Request, product_id: UUID) -> Response:
        return self._update(request, product_id, ProductInput.read(request, partial=True))

    @extend_schema(tags=["products"], summary="Delete a product", parameters=[IF_MATCH], responses={204: None})
    def delete(self, request: Request, product_id: UUID) -> Response:
        revision = revision_to_change(request, product_id)
        services.products().delete_product(product_id=product_id, if_revision=revision)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _update(self, request: Request, product_id: UUID, data: dict[str, Any]) -> Response:
        revision = revision_to_change(request, product_id)
        stock = data.pop("stock", None)
        if stock is not None and stock not in stocks_read(request) | {_available(product_id)}:
            raise StockNotEditable(Problem(f"Stock changes by POST {request.path}/stock/adjust.", attr="stock"))
        product = services.products().update_product(
            product_id=product_id, change=ProductChange(**data), if_revision=revision
        )
        return _answer(product, request)


class VariantsView(APIView):
    """A product with those that differ from it in some attributes only."""

    permission_classes = (ReadOnlyOrCatalogStaff,)

    @extend_schema(
        tags=["products"],
        summary="List a product's variants",
        description="All products of its `group`, itself among them, oldest first, at most 100.",
        responses=VariantsSchema,
    )
    def get(self, request: Request, product_id: UUID) -> Response:
        product = services.products().get_product(product_id=product_id, include_inactive=_is_staff(request))
        rows = variants_of(product.group).select_related("category")[:MAX_PAGE_SIZE] if product.group else []
        variants = to_products(rows) or [product]
        return Response(
            {
                "group": product.group,
                "attributes": differences([each.attributes for each in variants]),
                "results": [product_body(each, here_of(request)) for each in variants],
            }
        )


class StockView(APIView):
    """What is on hand, and what of it is reserved."""

    permission_classes = (IsCatalogStaff,)

    @extend_schema(
        tags=["stock"], summary="Get a product's stock", responses=StockLevelSchema, examples=[examples.LEVEL]
    )
    def get(self, request: Request, product_id: UUID) -> Response:
        return Response(level_body(services.products().get_stock(product_id=product_id)))


class StockAdjustView(APIView):
    """Deliveries, losses and counts."""

    permission_classes = (IsCatalogStaff,)

    @extend_schema(
        tags=["stock"],
        summary="Adjust a product's stock",
        request=StockAdjustInput,
        responses={200: StockLevelSchema, 409: refusal("stock_below_reserved", "stock_limit")},
        examples=[examples.DELIVERY, examples.COUNT, examples.LEVEL],
    )
    def post(self, request: Request, product_id: UUID) -> Response:
        adjustment = StockAdjustInput.read(request)
        level = services.products().adjust_stock(product_id=product_id, actor_id=request.user.id, **adjustment)
        return Response(level_body(level))


class StockMovementsView(GenericAPIView[models.StockMovement]):
    """The ledger."""

    permission_classes = (IsCatalogStaff,)
    queryset = models.StockMovement.objects.all()
    pagination_class = NewestFirst
    serializer_class = StockMovementSchema

    @extend_schema(tags=["stock"], summary="List a product's stock movements", responses=StockMovementSchema(many=True))
    def get(self, request: Request, product_id: UUID) -> Response:
        services.products().get_stock(product_id=product_id)
        ledger = models.StockMovement.objects.filter(product_id=product_id)
        return self.get_paginated_response([movement_body(row) for row in self.paginate_queryset(ledger) or []])


class CategoriesView(GenericAPIView[models.Category]):
    """The category tree."""

    permission_classes = (ReadOnlyOrCatalogStaff,)
    queryset = models.Category.objects.all()
    pagination_class = PagePagination
    serializer_class = CategoryInput

    @extend_schema(
        tags=["categories"],
        summary="List categories",
        parameters=[CategoriesInput],
        responses=CategorySchema(many=True),
        examples=[examples.CATEGORY],
    )
    def get(self, request: Request) -> Response:
        categories: QuerySet[models.Category] = models.Category.objects.filter(**CategoriesInput.read(request))
        page = self.paginate_queryset(categories) or []
        return self.get_paginated_response([category_body(to_category(row)) for row in page])

    @extend_schema(
        tags=["categories"],
        summary="Add a category",
        parameters=[LOCATION],
        request=CategoryInput,
        responses={201: CategorySchema, 409: refusal("category_exists")},
        examples=[examples.NEW_CATEGORY, examples.CATEGORY],
    )
    def post(self, request: Request) -> Response:
        category = services.products().create_category(**CategoryInput.read(request))
        location = reverse("category", args=[category.id], request=request)
        return Response(category_body(category), status=status.HTTP_201_CREATED, headers={"Location": location})


class CategoryView(APIView):
    """One category."""

    permission_classes = (ReadOnlyOrCatalogStaff,)

    @extend_schema(
        tags=["categories"], summary="Get a category", responses=CategorySchema, examples=[examples.CATEGORY]
    )
    def get(self, request: Request, category_id: UUID) -> Response:
        return Response(category_body(services.products().get_category(category_id=category_id)))

    @extend_schema(
        tags=["categories"],
        summary="Replace a category",
        description="Without `parent_id` it moves to the top; without `slug` it keeps its own.",
        request=CategoryInput,
        responses={200: CategorySchema, 409: refusal("category_exists", "category_cycle")},
        examples=[examples.NEW_CATEGORY, examples.CATEGORY],
    )
    def put(self, request: Request, category_id: UUID) -> Response:
        return self._update(category_id, {"parent_id": None, **CategoryInput.read(request)})

    @extend_schema(
        tags=["categories"],
        summary="Change a category",
        request=CategoryInput,
        responses={200: CategorySchema, 409: refusal("category_exists", "category_cycle")},
        examples=[examples.NEW_CATEGORY, examples.CATEGORY],
    )
    def patch(self, request: Request, category_id: UUID) -> Response:
        return self._update(category_id, CategoryInput.read(request, partial=True))

    @extend_schema(
        tags=["categories"], summary="Delete a category", responses={204: None, 409: refusal("category_in_use")}
    )
    def delete(self, request: Request, category_id: UUID) -> Response:
        services.products().delete_category(category_id=category_id)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _update(self, category_id: UUID, data: dict[str, Any]) -> Response:
        category = services.products().update_category(category_id=category_id, move="parent_id" in data, **data)
        return Response(category_body(category))


def _available(product_id: UUID) -> int:
    return services.products().get_stock(product_id=product_id).available


def _filters(query: dict[str, Any], request: Request) -> ProductFilter:
    """The filters of a query. Only staff see what is inactive."""
    return ProductFilter(**query, attributes=read_attributes(request), include_inactive=_is_staff(request))


def _answer_page(
    view: GenericAPIView[models.Product],
    request: Request,
    product_ids: Sequence[UUID],
    generation: str,
    **beside: Any,  # noqa: ANN401 - what else the page says
) -> Response:
    """A page of products, as of a generation of the catalogue; one that was deleted meanwhile is left out."""
    found = read_products(product_ids)
    response = view.get_paginated_response([product_body(each, here_of(request)) for each in found])
    response.data.update(beside)
    quick.keep(request, generation, response.data, found)
    return response


def _is_staff(request: Request) -> bool:
    return has_role(request.user, IsCatalogStaff.role)


def _cache_headers(product: Product) -> dict[str, str]:
    """A cache may keep the answer, but asks before each use: stock changes at any time."""
    return {"ETag": product.etag, "Cache-Control": "no-cache"}


def _answer(product: Product, request: Request, code: int = status.HTTP_200_OK) -> Response:
    return Response(product_body(product, here_of(request)), status=code, headers=_cache_headers(product))
