"""`manage.py preview_mails`: every mail to customers as a file, to look at templates."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.management.base import BaseCommand, CommandError
from django.template import TemplateDoesNotExist, TemplateSyntaxError

from apps.events.envelope import Event
from apps.orders import events
from apps.orders.mail import MAILED, order_mail

_ID = UUID("01938d5e-7b1a-7c3e-9a51-0242ac120002")
_LAMP, _SHADE = f"{_ID}", "01938d5e-7b1a-7c3e-9a51-0242ac120003"
_ORDER: dict[str, Any] = {
    "order_id": f"{_ID}",
    "number": "250101-7F3K9QXA",
    "user_id": f"{_ID}",
    "status": "paid",
    "subtotal": "1264.50",
    "shipping_cost": "15.00",
    "total": "1279.50",
    "currency": "USD",
    "items": [
        {
            "product_id": _LAMP,
            "product_name": "Brass floor lamp with a rather long name",
            "quantity": 2,
            "price": "610.00",
        },
        {"product_id": _SHADE, "product_name": "Shade <small> & white", "quantity": 1, "price": "44.50"},
    ],
}
_REFUND = {
    "refund_id": f"{_ID}",
    "amount": "44.50",
    "lines": [{"product_id": _SHADE, "quantity": 1}],
    "restock": True,
}

_REFUND_OF_ALL = {"refund_id": f"{_ID}", "amount": _ORDER["total"], "lines": [], "restock": True}
_WITH_REFUND = {events.REFUND_COMPLETED, events.REFUNDED, events.CANCELLED}


class Command(BaseCommand):
    help = "Write every mail to customers, with made-up data, to files that a browser and an editor can show."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", type=Path, default=settings.DATA_DIR / "mail-preview", help="a folder")

    def handle(self, *args: object, to: Path, **options: object) -> None:
        try:
            to.mkdir(parents=True, exist_ok=True)
            for kind in sorted(MAILED):
                _write(to / kind, order_mail(_sample(kind), to="ada@example.com", name="Ada"))
        except OSError as error:
            raise CommandError(f"{to} cannot be written: {error.strerror}.") from error
        except (TemplateDoesNotExist, TemplateSyntaxError) as error:
            raise CommandError(f"A template of the mail {kind} cannot be read: {error}") from error
        self.stdout.write(f"{len(MAILED)} mails are in {to}")


def _sample(kind: str) -> Event:
    more = {"refund": _REFUND if kind == events.REFUND_COMPLETED else _REFUND_OF_ALL} if kind in _WITH_REFUND else {}
    return Event(
        id=_ID,
        type=kind,
        source="orders",
        subject=_ID,
        sequence=1,
        data={**_ORDER, **more},
        timestamp=datetime(2025, 1, 1, 12, tzinfo=UTC),
        version=1,
        traceparent="",
    )


def _write(path: Path, mail: EmailMultiAlternatives) -> None:
    """The text with its subject above it, and the page."""
    path.with_name(f"{path.name}.txt").write_text(f"Subject: {mail.subject}\n\n{mail.body}")
    for page, _ in mail.alternatives:
        path.with_name(f"{path.name}.html").write_text(str(page))
