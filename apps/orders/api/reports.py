"""Reports over REST, for order staff: in JSON, or in CSV with `Accept: text/csv`."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import StreamingHttpResponse
from django.utils import timezone as clock
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_dataclasses.serializers import DataclassSerializer

from apps.common.api.download import csv_file
from apps.common.api.fields import CurrencyField, MomentField, ZoneField, from_to
from apps.common.api.negotiation import CSV, JSONOrCSV, wants_csv
from apps.common.api.permissions import IsOrderStaff
from apps.common.api.serializers import QueryInput
from apps.orders.reports.periods import Interval, Stretch, midnight
from apps.orders.reports.reading import (
    Asked,
    Ordering,
    ProductRow,
    SalesRow,
    SalesTotal,
    StatusRow,
    read_products,
    read_sales,
    read_statuses,
)
from apps.orders.reports.sheets import to_csv

MAX_PRODUCTS = 1000
_MAX_SPAN = timedelta(days=3660)
_USUAL_DAYS = 30
_USUAL_PRODUCTS = 100
_ZONE = OpenApiParameter(
    "tz", str, default="UTC", description="An IANA time zone, such as `Europe/Berlin`: when days begin in it."
)
_PARAMETERS = [
    OpenApiParameter("from", str, description="A day, or an RFC 3339 time. 30 days before the end, if absent."),
    OpenApiParameter(
        "to", str, description="A day, which is included, or an RFC 3339 time, which is not. Today, if absent."
    ),
    _ZONE,
    OpenApiParameter("currency", str, description="Only this currency; each that occurs, if absent."),
]


class ReportInput(QueryInput):
    """What every report is asked for; `asked` is all of it."""

    tz = ZoneField(default=ZoneInfo("UTC"))
    currency = CurrencyField(required=False)

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), **from_to(MomentField, required=False)}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        zone: ZoneInfo = attrs.pop("tz")
        ends_at = _end(attrs.pop("to", None) or clock.now().astimezone(zone).date(), zone)
        starts_at = _start(attrs.pop("from", None) or _usual_first_day(ends_at, zone), zone)
        if starts_at >= ends_at:
            raise serializers.ValidationError({"to": [ErrorDetail("This is not after `from`.", code="empty_span")]})
        if ends_at - starts_at > _MAX_SPAN:
            detail = ErrorDetail("A report is about ten years at most.", code="span_too_long")
            raise serializers.ValidationError({"from": [detail]})
        asked = Asked(Stretch(starts_at, ends_at), zone, attrs.pop("currency", None))
        return {**attrs, "asked": asked}


class SalesInput(ReportInput):
    interval = serializers.ChoiceField(choices=[each.value for each in Interval], default=Interval.DAY.value)


class ProductsInput(ReportInput):
    ordering = serializers.ChoiceField(choices=[each.value for each in Ordering], default=Ordering.MOST_AMOUNT.value)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PRODUCTS, required=False)


class SalesRowSerializer(DataclassSerializer[SalesRow]):
    class Meta:
        dataclass = SalesRow


class SalesTotalSerializer(DataclassSerializer[SalesTotal]):
    class Meta:
        dataclass = SalesTotal


class ProductRowSerializer(DataclassSerializer[ProductRow]):
    class Meta:
        dataclass = ProductRow


class StatusRowSerializer(DataclassSerializer[StatusRow]):
    class Meta:
        dataclass = StatusRow


# What a report says of itself; a docstring here would describe those below.
class _ReportSerializer(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, Any]:
        return {**from_to(serializers.DateTimeField), "tz": serializers.CharField(), **super().get_fields()}


class SalesReportSerializer(_ReportSerializer):
    interval = serializers.ChoiceField(choices=[each.value for each in Interval])
    totals = SalesTotalSerializer(many=True)
    results = SalesRowSerializer(many=True)


class ProductReportSerializer(_ReportSerializer):
    results = ProductRowSerializer(many=True)


class StatusReportSerializer(_ReportSerializer):
    results = StatusRowSerializer(many=True)


class ReportView(APIView):
    permission_classes = [IsOrderStaff]
    content_negotiation_class = JSONOrCSV


@extend_schema(tags=["reports"])
class SalesReportView(ReportView):
    @extend_schema(
        summary="Sales by day, week or month",
        description="An order counts when it was paid, a refund when it was made. Figures are per currency.",
        parameters=[*_PARAMETERS, OpenApiParameter("interval", str, enum=[*Interval], default="day")],
        responses={(200, "application/json"): SalesReportSerializer, (200, CSV): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        query = SalesInput.read(request)
        rows, totals = read_sales(query["asked"], Interval(query["interval"]))
        if wants_csv(request):
            return csv_file(to_csv(SalesRow, rows), "sales.csv")
        return _answer(query["asked"], {"interval": query["interval"], "totals": totals}, rows)


@extend_schema(tags=["reports"])
class ProductReportView(ReportView):
    @extend_schema(
        summary="Sales by product",
        description="The first of each currency: 100, or `limit`. In CSV, without a `limit`, all.",
        parameters=[
            *_PARAMETERS,
            OpenApiParameter("ordering", str, enum=[*Ordering], default="-amount"),
            OpenApiParameter("limit", int, description=f"From 1 to {MAX_PRODUCTS}; for each currency."),
        ],
        responses={(200, "application/json"): ProductReportSerializer, (200, CSV): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        query = ProductsInput.read(request)
        asked, ordering, limit = query["asked"], Ordering(query["ordering"]), query.get("limit")
        if wants_csv(request):
            return csv_file(to_csv(ProductRow, read_products(asked, ordering, limit)), "products.csv")
        return _answer(asked, {}, list(read_products(asked, ordering, limit or _USUAL_PRODUCTS)))


@extend_schema(tags=["reports"])
class StatusReportView(ReportView):
    @extend_schema(
        summary="Orders by status",
        description="The orders that were placed in that time, by where they stand now.",
        parameters=_PARAMETERS,
        responses={(200, "application/json"): StatusReportSerializer, (200, CSV): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        asked = ReportInput.read(request)["asked"]
        rows = read_statuses(asked)
        return csv_file(to_csv(StatusRow, rows), "status.csv") if wants_csv(request) else _answer(asked, {}, rows)


def _answer(asked: Asked, more: Mapping[str, object], rows: Sequence[object]) -> Response:
    stretch = asked.stretch
    about = {"from": stretch.starts_at, "to": stretch.ends_at, "tz": asked.zone.key}
    return Response({**about, **more, "results": rows})


def _start(moment: date | datetime, zone: ZoneInfo) -> datetime:
    return moment if isinstance(moment, datetime) else midnight(moment, zone)


def _end(moment: date | datetime, zone: ZoneInfo) -> datetime:
    """A day is included, a time is not."""
    return moment if isinstance(moment, datetime) else midnight(moment + timedelta(days=1), zone)


def _usual_first_day(ends_at: datetime, zone: ZoneInfo) -> date:
    last = (ends_at - timedelta.resolution).astimezone(zone).date()
    return last - timedelta(days=_USUAL_DAYS - 1)
