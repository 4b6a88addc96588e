"""Every error code of the API: its statuses, what it means and what to do. `python -m config.problems` writes
docs/problems.md; `--check` says whether that is up to date.

Codes, statuses and meanings are those of the code; only what to do is written here. A new code without an entry is
listed with what its kind says.
"""

import inspect
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from django.utils.html import escape
from django.utils.safestring import mark_safe

from apps.common import errors
from apps.common.api.errors import status_of

PAGE = Path(__file__).parents[1] / "docs" / "problems.md"
_HEAD = """# Error codes

Every refusal has a `code`, which does not change, and a `detail` for people, which may: [api.md](api.md) has the shape.
`attr` names the part of the input that it is about. Over gRPC the code is the `reason` of the `ErrorInfo`, and in the
trailing metadata as `error-code` ([grpc.md](grpc.md)).

This page is written by `python -m config.problems`; the shop shows it at `/api/problems/`.
"""


class Note(NamedTuple):
    """What to do; and what a code means, where the code itself has no sentence for it."""

    remedy: str
    meaning: str = ""


@dataclass(frozen=True)
class Entry:
    """One code."""

    code: str
    http: str
    grpc: str
    meaning: str
    remedy: str

    @property
    def meaning_html(self) -> str:
        return _with_code(self.meaning)

    @property
    def remedy_html(self) -> str:
        return _with_code(self.remedy)


# By kind, for codes that have no note of their own.
_KINDS: dict[type[errors.DomainError], str] = {
    errors.InvalidInput: "Correct what `attr` names, and send the request again.",
    errors.Unauthenticated: "Log in, or exchange the refresh token, and send the request again.",
    errors.PaymentRefused: "Pay another way; nothing was charged.",
    errors.Forbidden: "Use an account with the role that the call needs.",
    errors.NotFound: "Check the id, and that it is yours.",
    errors.Busy: "Send the same request again after `Retry-After` seconds.",
    errors.Conflict: "Read the present state, and decide anew.",
    errors.StaleVersion: "Read it again, and repeat the change with the new `ETag`.",
    errors.KeyReused: "Make a new key for a new request.",
    errors.TooLarge: "Send less at a time.",
    errors.Unavailable: "Send the same request again after `Retry-After` seconds.",
}
_NOTES: dict[str, Note] = {
    "out_of_stock": Note("Order no more than each `detail` says is available."),
    "payment_outcome_unknown": Note(
        "Do not pay again: read the order until its payment is settled, or repeat with the same `Idempotency-Key`."
    ),
    "idempotency_key_reused": Note("Make a new `Idempotency-Key`: this one belongs to another request."),
    "idempotency_in_progress": Note("Send the same request with the same key after `Retry-After` seconds."),
    "invalid_idempotency_key": Note(
        "Send 1 to 255 visible ASCII characters; a UUID is good.", "The `Idempotency-Key` is none."
    ),
    "invalid_token": Note("Exchange the refresh token for a new pair; if that is refused too, log in."),
    "wrong_credentials": Note(
        "Check both, or reset the password.", "No account has this address or name with this password."
    ),
    "weak_password": Note(
        "Choose another; each `detail` names a rule that it breaks.", "The password breaks a rule of the shop."
    ),
    "email_taken": Note("Log in, or use another address.", "Another account has this e-mail address."),
    "username_taken": Note("Choose another name.", "Another account has this name."),
    "sku_taken": Note("Choose another SKU, or leave it out.", "Another product has this SKU."),
    "invalid_transition": Note("Read the order; docs/api.md shows which moves there are."),
    "currency_mismatch": Note("Place an order for each currency."),
    "unknown_shipping_method": Note("Use one of the shop's methods that is offered in the order's currency."),
    "reservation_closed": Note("Place the order anew."),
    "stock_not_editable": Note("Use `POST /products/{id}/stock/adjust`."),
    "stock_below_reserved": Note("Take away no more than is available, or cancel orders first."),
    "category_in_use": Note("Move or delete what is in it first."),
    "category_too_deep": Note("Put it higher up.", "The tree of categories would have too many levels."),
    "too_many_pictures": Note("Remove a picture first.", "The product has as many pictures as it may have."),
    "picture_too_large": Note("Send a smaller picture: at most 10 MB and 40 megapixels, unless the shop allows more."),
    "not_a_picture": Note("Send JPEG, PNG, WebP, GIF or AVIF."),
    "too_many_watchers": Note("Come again after `Retry-After` seconds, or ask `/orders/{id}/status` now and then."),
    "user_not_found": Note("Check the id.", "There is no such user, or it is not yours to see."),
    "session_not_found": Note("List the log-ins anew.", "The log-in has ended, or is not yours."),
    "category_not_found": Note("List the categories anew.", "There is no such category."),
    "reservation_not_found": Note("Check the order's id.", "The order holds no stock."),
    "endpoint_not_found": Note("List the endpoints anew.", "There is no such webhook endpoint."),
    "delivery_not_found": Note("List the endpoint's deliveries anew.", "There is no such delivery."),
    "import_not_found": Note("Check the id.", "There is no such import, or it is too old."),
    "invalid_endpoint": Note("Correct what `attr` names.", "A webhook endpoint cannot be like that."),
    "too_many_endpoints": Note("Delete an endpoint first.", "The shop has as many webhook endpoints as it may have."),
    "duplicate_column": Note("Leave one of them out.", "Two columns of the file have one name."),
    "missing_column": Note("Add the column that `detail` names.", "The file lacks a column that it needs."),
    "nothing_to_import": Note("Put at least one row into the file.", "The file has no rows."),
}


def _of_frameworks() -> Sequence[Entry]:
    """Codes that no domain error has: of fields, of the door, and of what no view has answered."""
    beside = "Correct the field that `attr` names."
    return [
        Entry(code, http, "INVALID_ARGUMENT" if http == "400" and remedy == beside else "-", meaning, remedy)
        for code, http, meaning, remedy in (
            ("required", "400", "A field is missing.", beside),
            ("blank", "400", "A text is empty.", beside),
            ("null", "400", "A field is `null` that must not be.", beside),
            ("unknown_field", "400", "There is no such field; perhaps it is misspelt.", beside),
            ("max_length", "400", "A text is too long.", beside),
            ("min_value", "400", "A number is too small.", beside),
            ("max_value", "400", "A number is too large.", beside),
            ("invalid_choice", "400", "It is none of the values that there are.", beside),
            ("control_characters", "400", "A text holds characters that nobody sees.", beside),
            ("parse_error", "400", "The body is no JSON.", "Send JSON in UTF-8 (RFC 8259)."),
            ("bad_request", "400", "The request cannot be understood.", "Check its encoding."),
            ("null_character", "400", "The address holds a NUL character.", "Leave it out."),
            ("incomplete_body", "400", "The request ended before its body did.", "Send it again, whole."),
            ("invalid_host", "400", "The shop does not answer to that host name.", "Set `ALLOWED_HOSTS`."),
            ("not_authenticated", "401", "Nobody is logged in.", "Send `Authorization: Bearer` with an access token."),
            ("method_not_allowed", "405", "The address has no such method.", "The header `Allow` names those it has."),
            ("not_acceptable", "406", "The answer is not to be had in that form.", "Accept `application/json`."),
            ("length_required", "411", "The body comes without its length.", "Send a `Content-Length`."),
            ("unsupported_media_type", "415", "The body is of a kind that is not read.", "Send `application/json`."),
            ("throttled", "429", "There were too many requests.", "Come again after `Retry-After` seconds."),
            ("error", "500", "Something went wrong on our side.", "Tell us the `X-Request-ID`."),
        )
    ]


def entries() -> list[Entry]:
    """Every code, by HTTP status and name. Of several errors with one code the first counts, kinds before others."""
    found: dict[str, Entry] = {}
    for error in (*_domain_errors(errors.DomainError),):
        found.setdefault(error.code, _entry(error))
    for entry in _of_frameworks():
        found.setdefault(entry.code, entry)
    return sorted(found.values(), key=lambda entry: (entry.http, entry.code))


def markdown() -> str:
    rows = [
        f"| `{entry.code}` | {entry.http} | {entry.grpc} | {entry.meaning} | {entry.remedy} |" for entry in entries()
    ]
    return "\n".join(
        [_HEAD, "| code | HTTP | gRPC | it means | what to do |", "| --- | --- | --- | --- | --- |", *rows, ""]
    )


def _domain_errors(kind: type[errors.DomainError]) -> Iterator[type[errors.DomainError]]:
    """All that are loaded, those of a module together: kinds first."""
    found = {kind}
    while more := {below for each in found for below in each.__subclasses__()} - found:
        found |= more
    ours = [
        each for each in found - {kind} if ".tests" not in each.__module__ and not each.__module__.startswith("tests")
    ]
    yield from sorted(ours, key=lambda each: (each.__module__ != errors.__name__, each.__module__, each.__name__))


def _entry(kind: type[errors.DomainError]) -> Entry:
    # Only who opens the page needs gRPC in a process of the web server.
    from grpc_api.errors import status_of as grpc_status_of  # noqa: PLC0415

    error = kind.__new__(kind)
    base = next(each for each in _KINDS if issubclass(kind, each))
    note = _NOTES.get(kind.code, Note(_KINDS[base]))
    meaning = note.meaning or _first_sentences(kind) or _first_sentences(base)
    return Entry(kind.code, str(status_of(error)), grpc_status_of(error).name, meaning, note.remedy)


def _first_sentences(kind: type[errors.DomainError]) -> str:
    """The first paragraph of its own docstring, in one line."""
    return " ".join(inspect.cleandoc(kind.__dict__.get("__doc__") or "").partition("\n\n")[0].split())


def _with_code(sentence: str) -> str:
    """A sentence for a page: what is between backticks is code."""
    return mark_safe(re.sub("`([^`]+)`", r"<code>\1</code>", escape(sentence)))  # noqa: S308 - escaped before


def main(*arguments: str) -> int:
    """Write the page, or with `--check` say whether it is as it should be."""
    import django  # noqa: PLC0415 - a command: the shop is not set up yet
    from django.urls import get_resolver  # noqa: PLC0415

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.monolith")
    django.setup()
    _ = get_resolver().url_patterns  # whatever can refuse is loaded then
    wanted = markdown()
    if "--check" in arguments:
        if PAGE.exists() and PAGE.read_text() == wanted:
            return 0
        sys.stderr.write("docs/problems.md is out of date: run python -m config.problems\n")
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
