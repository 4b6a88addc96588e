"""Staff pages for files of products: hand one in, look at what it would do, import it, and take the catalogue out."""

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import INPUT_CLASSES, UnfoldBooleanWidget

from apps.common.admin import ModelAdmin, ReadOnlyAdmin
from apps.common.api.download import csv_file
from apps.common.errors import DomainError
from apps.products.models import ImportJob, ImportRow, Product
from apps.products.transfer import jobs
from apps.products.transfer.columns import ADJUSTMENTS, ATTRIBUTE, EXPORTED
from apps.products.transfer.export import export
from config import services

_ROWS = 50
_TONES = {ImportJob.State.FINISHED.value: "success", ImportJob.State.FAILED.value: "danger"}


class UploadForm(forms.Form):
    """A file, and whether it is to be tried first."""

    file = forms.FileField(
        label=_("CSV file"),
        widget=forms.FileInput(attrs={"accept": ".csv,text/csv", "class": " ".join(["staff-files", *INPUT_CLASSES])}),
        help_text=_("As “CSV UTF-8”, with commas, semicolons or tabs; at most 10 MB and 50,000 rows."),
    )
    dry_run = forms.BooleanField(
        label=_("Dry run first"),
        widget=UnfoldBooleanWidget,
        initial=True,
        required=False,
        help_text=_("Shows what the file would do to each product, and changes nothing."),
    )

    def start(self, actor_id: UUID | None) -> ImportJob | None:
        """The import of the file; none, with an error of the form, when it cannot be read."""
        file = self.cleaned_data["file"]
        try:
            return jobs.start(
                file.read(settings.MAX_UPLOAD_BYTES + 1),
                dry_run=self.cleaned_data["dry_run"],
                file_name=file.name,
                charset=file.charset,
                actor_id=actor_id,
            )
        except DomainError as refusal:
            for problem in refusal.problems:
                self.add_error("file", problem.detail)
            return None


class TransferAdmin(ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter
    """Adds import and export to the list of products."""

    def get_urls(self) -> list[URLPattern]:
        return [
            path("import/", self.admin_site.admin_view(self.import_view), name="products_product_import"),
            path("export/", self.admin_site.admin_view(self.export_view), name="products_product_export"),
            *super().get_urls(),
        ]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST, request.FILES) if request.method == "POST" else UploadForm()
        job = form.start(request.user.pk) if form.is_valid() else None
        if job:
            jobs.hasten(services.products(), job)
            return HttpResponseRedirect(_page_of(job))
        context = {
            **self.admin_site.each_context(request),
            "opts": Product._meta,
            "title": gettext("Import products"),
            "form": form,
            "columns": [*EXPORTED, *ADJUSTMENTS, f"{ATTRIBUTE}…"],
        }
        return TemplateResponse(request, "admin/products/product/import.html", context)

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            products = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse("admin:products_product_changelist"))
        return csv_file(export(products), "products.csv")


@admin.register(ImportJob)
class ImportJobAdmin(ReadOnlyAdmin[ImportJob]):
    """Imports, and how far they are."""

    list_display = ("created_at", "file", "stands", "dry_run", "total", "created", "updated", "unchanged", "failed")

    @admin.display(description=_("file"))
    def file(self, job: ImportJob) -> str:
        return str(job)

    @display(description=_("state"), label=_TONES)  # type: ignore[untyped-decorator] # the theme has no types
    def stands(self, job: ImportJob) -> tuple[str, str]:
        return job.state, gettext(job.state)

    def get_urls(self) -> list[URLPattern]:
        return [
            path("<uuid:job_id>/errors/", self.admin_site.admin_view(self.errors_view), name="products_import_errors"),
            path("<uuid:job_id>/run/", self.admin_site.admin_view(self.run_view), name="products_import_run"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        job = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        if job is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        outcome = request.GET.get("outcome", "")
        rows = job.rows.filter(outcome=outcome) if outcome in ImportRow.Outcome.values else job.rows.all()
        page = Paginator(rows.order_by("number"), _ROWS).get_page(request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Dry run") if job.dry_run else gettext("Import"),
            "headers": [gettext("Row"), gettext("SKU"), gettext("Outcome"), gettext("Remarks")],
            "job": job,
            "page": page,
            "is_tried": jobs.is_tried(job),
            "outcome": outcome,
            "counts": [(name, getattr(job, name)) for name in ImportRow.Outcome.values],
        }
        return TemplateResponse(request, "admin/products/importjob/progress.html", context)

    def errors_view(self, request: HttpRequest, job_id: UUID) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return csv_file(jobs.failed_rows(jobs.get(job_id)), "errors.csv")

    def run_view(self, request: HttpRequest, job_id: UUID) -> HttpResponse:
        """Import the file of a dry run for real."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        job = jobs.get(job_id)
        try:
            job = jobs.hasten(services.products(), jobs.run_for_real(job, actor_id=request.user.pk))
        except jobs.NothingToImport as refusal:
            messages.warning(request, str(refusal))
        return HttpResponseRedirect(_page_of(job))


def _page_of(job: ImportJob) -> str:
    return reverse("admin:products_importjob_change", args=[job.pk])
