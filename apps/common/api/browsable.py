"""The API as pages that people can use."""

from typing import Any

import orjson
from django import forms
from rest_framework import renderers
from rest_framework.request import Request


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """Its forms for JSON begin with the call's example, as the OpenAPI document has it."""

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Request) -> Any:  # noqa: ANN401
        form = super().get_raw_data_form(data, view, method, request)
        content = form.fields.get("_content") if isinstance(form, forms.Form) else None
        # A change begins with what is there, if the page has it.
        if content is not None and (not content.initial or method == "POST"):
            content.initial = _example(view, method)
        return form


def _example(view: Any, method: str) -> str:  # noqa: ANN401
    """What the view declares to be sent with this method; an empty object if it declares nothing."""
    declared = getattr(getattr(view, method.lower(), None), "kwargs", {}).get("schema")
    if declared is None:
        return "{}"
    schema = declared()
    schema.view, schema.method = view, method
    values = [each.value for each in schema.get_examples() if not each.response_only and isinstance(each.value, dict)]
    return orjson.dumps(values[0] if values else {}, option=orjson.OPT_INDENT_2).decode()
