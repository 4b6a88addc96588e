"""Products in CSV over REST: files in, results of their rows, and the catalogue as a file."""

from collections.abc import Mapping
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ErrorDetail, NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.pagination import Cursor
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from apps.common.api.download import csv_file
from apps.common.api.negotiation import CSV, AlwaysJSON
from apps.common.api.paging import NewestFirst
from apps.common.api.permissions import IsCatalogStaff, caller_id
from apps.common.api.schema import refusal
from apps.common.api.serializers import QueryInput
from apps.products.api.serializers import FiltersInput, read_attributes
from apps.products.interface import ProductFilter
from apps.products.models import ImportJob, ImportRow
from apps.products.services.selection import select_products
from apps.products.transfer import jobs
from apps.products.transfer.export import export
from config import services

_LOCATION = OpenApiParameter(
    "Location", str, OpenApiParameter.HEADER, response=[202], description="The address of the import."
)
_CSV = {(200, CSV): OpenApiTypes.STR}
_FILE = {
    CSV: OpenApiTypes.STR,
    "multipart/form-data": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    },
}


class CsvParser(BaseParser):
    """A body that is the file itself."""

    media_type = CSV

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Mapping[str, bytes]:
        return {"file": stream.read(settings.MAX_UPLOAD_BYTES + 1)}


# A misspelt `dry_run` would not be dry: here, what is not known is refused.
class ImportInput(QueryInput):
    dry_run = serializers.BooleanField(default=False, help_text="Say what the file would do, and change nothing.")

    @classmethod
    def read(cls, request: Request, *, partial: bool = False) -> dict[str, Any]:
        known = {*cls().fields}
        unknown = [*(set(request.query_params) - known), *(set(request.data) - {"file"})]
        if unknown:
            detail = ErrorDetail("There is no such parameter.", code="unknown_field")
            raise serializers.ValidationError({name: [detail] for name in sorted(unknown)[:20]})
        return super().read(request, partial=partial)


class RowsInput(QueryInput):
    outcome = serializers.ChoiceField(choices=ImportRow.Outcome.choices, required=False)


class ProblemOfRow(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True, help_text="The column.")


class ImportRowSchema(serializers.ModelSerializer[ImportRow]):
    row = serializers.IntegerField(source="number", help_text="As a spreadsheet counts: the header is row 1.")
    problems = ProblemOfRow(many=True, help_text="Why it failed.")
    notes = serializers.ListField(child=serializers.CharField(), help_text="What else should be known.")

    class Meta:
        model = ImportRow
        fields = ("row", "sku", "outcome", "product_id", "problems", "notes")


class ImportJobSchema(serializers.ModelSerializer[ImportJob]):
    new_categories = serializers.ListField(
        child=serializers.CharField(), help_text="Categories that the file makes: are they misspelt?"
    )

    class Meta:
        model = ImportJob
        fields = (
            "id", "state", "dry_run", "file_name", "total", "done", "created", "updated", "unchanged", "failed",
            "new_categories", "requested_by", "created_at", "started_at", "finished_at",
        )  # fmt: skip


class ImportResultSchema(ImportJobSchema):
    rows = ImportRowSchema(many=True, help_text="What became of each row.")

    class Meta(ImportJobSchema.Meta):
        fields = (*ImportJobSchema.Meta.fields, "rows")  # type: ignore[assignment]


class ByNumber(NewestFirst):
    """The rows of a file, in its order."""

    ordering = "number"

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor = super(NewestFirst, self).decode_cursor(request)
        if cursor is not None and cursor.position is not None and not str(cursor.position).isdecimal():
            raise NotFound(self.invalid_cursor_message)
        return cursor


class ImportView(APIView):
    """Files in."""

    permission_classes = (IsCatalogStaff,)
    parser_classes = (CsvParser, MultiPartParser)

    @extend_schema(
        tags=["import and export"],
        summary="Import products from CSV",
        description="One row for each product, which its `sku` names: it is changed if it is there, and made if not. "
        "A small file is imported at once; a larger one in the background, with its progress at `Location`.",
        parameters=[ImportInput, _LOCATION],
        request=_FILE,
        responses={
            200: ImportResultSchema,
            202: ImportJobSchema,
            413: refusal("request_too_large"),
        },
    )
    def post(self, request: Request) -> Response:
        dry_run = ImportInput.read(request)["dry_run"]
        content, file_name, charset = _file_of(request)
        job = jobs.start(content, dry_run=dry_run, file_name=file_name, charset=charset, actor_id=caller_id(request))
        job = jobs.hasten(services.products(), job)
        if job.finished_at:
            return Response(ImportResultSchema(job).data)
        address = reverse("import", args=[job.id], request=request)
        return Response(ImportJobSchema(job).data, status.HTTP_202_ACCEPTED, headers={"Location": address})


class ImportsView(GenericAPIView[ImportJob]):
    """What was imported."""

    permission_classes = (IsCatalogStaff,)
    queryset = ImportJob.objects.all()
    pagination_class = NewestFirst
    serializer_class = ImportJobSchema

    @extend_schema(tags=["import and export"], summary="List imports", responses=ImportJobSchema(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(ImportJobSchema(page, many=True).data)


class ImportJobView(APIView):
    """How far an import is."""

    permission_classes = (IsCatalogStaff,)

    @extend_schema(tags=["import and export"], summary="Get an import", responses=ImportJobSchema)
    def get(self, request: Request, import_id: UUID) -> Response:
        return Response(ImportJobSchema(jobs.get(import_id)).data)


class ImportRowsView(GenericAPIView[ImportRow]):
    """What became of each row."""

    permission_classes = (IsCatalogStaff,)
    queryset = ImportRow.objects.all()
    pagination_class = ByNumber
    serializer_class = ImportRowSchema

    @extend_schema(
        tags=["import and export"],
        summary="List the rows of an import",
        parameters=[RowsInput],
        responses=ImportRowSchema(many=True),
    )
    def get(self, request: Request, import_id: UUID) -> Response:
        rows = jobs.get(import_id).rows.filter(**RowsInput.read(request))
        return self.get_paginated_response(ImportRowSchema(self.paginate_queryset(rows), many=True).data)


class ImportErrorsView(APIView):
    """The rows that failed, to be mended."""

    permission_classes = (IsCatalogStaff,)
    content_negotiation_class = AlwaysJSON

    @extend_schema(
        tags=["import and export"],
        summary="Get the failed rows as CSV",
        description="As they were sent, with the reasons in a column `error`. Mend them and send the file again: "
        "that column is ignored.",
        responses=_CSV,
    )
    def get(self, request: Request, import_id: UUID) -> StreamingHttpResponse:
        job = jobs.get(import_id)
        return csv_file(jobs.failed_rows(job), "errors.csv")


class ExportView(APIView):
    """The catalogue as a file."""

    permission_classes = (IsCatalogStaff,)
    content_negotiation_class = AlwaysJSON

    @extend_schema(
        tags=["import and export"],
        summary="Export products as CSV",
        description="In UTF-8, newest first. Sent back as it is, the file changes nothing.",
        parameters=[FiltersInput],
        responses=_CSV,
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        query = FiltersInput.read(request)
        filters = ProductFilter(**query, attributes=read_attributes(request), include_inactive=True)
        return csv_file(export(select_products(filters)), "products.csv")


def _file_of(request: Request) -> tuple[bytes, str, str | None]:
    """The file that was sent, its name and its charset, each as the client says."""
    file = dict(request.data.items()).get("file")  # type: ignore[union-attr] # neither parser makes a list
    if isinstance(file, UploadedFile):
        return file.read(settings.MAX_UPLOAD_BYTES + 1), file.name or "", file.charset
    if isinstance(file, bytes):
        content_type = request.META.get("CONTENT_TYPE", "")
        _, _, charset = content_type.lower().partition("charset=")
        return file, "", charset.split(";")[0].strip(' "') or None
    raise serializers.ValidationError({"file": [ErrorDetail("Send the file as `file`.", code="required")]})
