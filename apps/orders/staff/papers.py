"""Packing slips and invoices as PDF. Nothing is embedded but Vera: East Asian names use the fonts that every reader of
PDF has for these scripts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from io import BytesIO
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

from django.conf import settings
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from reportlab.graphics.barcode import code128
from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus import Paragraph as PlainParagraph

from apps.orders.interface import RefundStatus
from apps.orders.models import Order, OrderItem
from apps.orders.staff.names import money
from apps.orders.staff.page import address_lines, totals

_MARGIN, _WIDTH = 18 * mm, A4[0] - 36 * mm
_GREY, _LINE = colors.HexColor("#555b66"), colors.HexColor("#c8ccd2")
_LATIN, _BOLD, _CHINESE, _KOREAN = "Vera", "VeraBd", "STSong-Light", "HYSMyeongJo-Medium"
_LONGEST_LINE, _MOST_LINES = 500, 6
# Hangul: its letters, and the syllables made of them.
_HANGUL = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF))


def packing_slips(orders: Sequence[Order]) -> bytes:
    """What goes into the parcels: a sheet or more for each order, without prices."""
    return _document(_("Packing slip"), [(order.number, _slip(order)) for order in orders])


def invoice(order: Order) -> bytes:
    """What the customer owed, paid and got back."""
    return _document(_("Invoice"), [(order.number, _bill(order))])


@cache
def _fonts() -> dict[str, set[int]]:
    """The fonts, made known; and the characters that those which are embedded can show."""
    for name in (_LATIN, _BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    for name in (_CHINESE, _KOREAN):
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return {name: set(pdfmetrics.getFont(name).face.charToGlyph) for name in (_LATIN, _BOLD)}


def _font_of(latin: str, character: str) -> str:
    code = ord(character)
    if code in _fonts()[latin]:
        return latin
    return _KOREAN if any(first <= code <= last for first, last in _HANGUL) else _CHINESE


def _marked_up(text: str, latin: str) -> str:
    """The text in fonts that have its characters. Whatever somebody has written is shown as it is."""
    runs = groupby(text, key=partial(_font_of, latin))
    parts = (f'<font name="{font}">{escape("".join(run))}</font>' for font, run in runs)
    return "".join(parts).replace("\n", "<br/>")


def _paragraph(text: object, *, bold: bool = False, right: bool = False, size: int = 9, grey: bool = False) -> Flowable:
    latin = _BOLD if bold else _LATIN
    style = ParagraphStyle(
        "text",
        fontName=latin,
        fontSize=size,
        leading=size * 1.4,
        alignment=TA_RIGHT if right else 0,
        textColor=_GREY if grey else colors.black,
        # Long names without spaces, as in Chinese, are broken too.
        splitLongWords=1,
        wordWrap=None if str(text).isascii() else "CJK",
    )
    return PlainParagraph(_marked_up(str(text), latin), style)


def _document(kind: str, sheets: Sequence[tuple[str, Sequence[Flowable]]]) -> bytes:
    """The sheets one after the other, each with its own page numbers at the foot."""
    _fonts()
    target = BytesIO()
    title = f"{kind} {sheets[0][0]}" if len(sheets) == 1 else kind
    document = BaseDocTemplate(
        target, pagesize=A4, title=title, author=settings.SHOP_NAME, leftMargin=_MARGIN, rightMargin=_MARGIN
    )
    frame = partial(Frame, _MARGIN, _MARGIN + 6 * mm, _WIDTH, A4[1] - 2 * _MARGIN - 6 * mm, 0, 0, 0, 0)
    document.addPageTemplates(
        [PageTemplate(number, [frame()], onPage=_foot(f"{kind} {number}")) for number, _sheet in sheets]
    )
    document.build(list(_in_order(sheets)))
    return target.getvalue()


def _in_order(sheets: Sequence[tuple[str, Sequence[Flowable]]]) -> Iterator[Flowable]:
    for place, (number, sheet) in enumerate(sheets):
        if place:
            yield NextPageTemplate(number)
            yield PageBreak()
        yield from sheet


def _foot(text: str) -> Callable[[Canvas, BaseDocTemplate], None]:
    """Says at the foot of each page what it belongs to, and which of its pages it is."""
    first: list[int] = []

    def draw(canvas: Canvas, _document: BaseDocTemplate) -> None:
        first.append(canvas.getPageNumber())
        page = canvas.getPageNumber() - first[0] + 1
        line = _paragraph(f"{text} · " + _("page %(page)s") % {"page": page}, size=8, grey=True)
        line.wrapOn(canvas, _WIDTH, 10 * mm)
        line.drawOn(canvas, _MARGIN, _MARGIN - 4 * mm)

    return draw


def _slip(order: Order) -> list[Flowable]:
    rows = [["☐", item.sku, item.product_name, quantity] for item, quantity in _to_pack(order)]
    heads = ["", _("SKU"), _("Article"), _("Quantity")]
    units = sum(quantity for _item, quantity in _to_pack(order))
    return [
        *_head(_("Packing slip"), order),
        _table(heads, [["", *row[1:]] for row in rows], [10 * mm, 42 * mm, None, 22 * mm], numbers={3}, boxes=True),
        Spacer(0, 4 * mm),
        _paragraph(_("Lines: %(lines)s. Units: %(units)s.") % {"lines": len(rows), "units": units}, bold=True),
        *([Spacer(0, 4 * mm), _paragraph(_("Note: %(note)s") % {"note": order.note})] if order.note else []),
    ]


def _to_pack(order: Order) -> list[tuple[OrderItem, int]]:
    """What is to go out: what was paid back and stays on the shelves is not."""
    kept: Counter[str] = Counter()
    for refund in order.refunds.all():
        if refund.restock and refund.status != RefundStatus.FAILED:
            kept.update({line["product_id"]: line["quantity"] for line in refund.lines})
    left = [(item, item.quantity - kept[str(item.product_id)]) for item in order.items.all()]
    return [(item, quantity) for item, quantity in left if quantity > 0]


def _bill(order: Order) -> list[Flowable]:
    rows = [
        [
            item.sku,
            item.product_name,
            item.quantity,
            money(item.price, order.currency),
            money(item.total, order.currency),
        ]
        for item in order.items.all()
    ]
    heads = [_("SKU"), _("Article"), _("Quantity"), _("Price"), _("Total")]
    sums = [
        [_paragraph(name, right=True, bold=name == _("Total")), _paragraph(amount, right=True, bold=name == _("Total"))]
        for name, amount in totals(order)
    ]
    paid = [
        _("Paid on %(day)s by %(method)s, transaction %(id)s.")
        % {"day": _day(payment.paid_at), "method": payment.method, "id": payment.transaction_id}
        for payment in order.payments.all()
        if payment.paid_at
    ]
    return [
        *_head(_("Invoice"), order),
        _table(heads, rows, [36 * mm, None, 20 * mm, 30 * mm, 32 * mm], numbers={2, 3, 4}),
        Spacer(0, 3 * mm),
        Table(sums, colWidths=[_WIDTH - 40 * mm, 40 * mm], style=[("RIGHTPADDING", (-1, 0), (-1, -1), 2)]),
        Spacer(0, 5 * mm),
        *(_paragraph(line, grey=True) for line in paid),
    ]


def _head(kind: str, order: Order) -> list[Flowable]:
    """Who sends it, to whom, and what it is."""
    shop = [_paragraph(settings.SHOP_NAME, bold=True, size=12)]
    shop += [_paragraph(settings.SHOP_ADDRESS, grey=True)] if settings.SHOP_ADDRESS else []
    about = [_paragraph(kind, bold=True, size=16, right=True), Spacer(0, 1 * mm)]
    about += [_paragraph(order.number, right=True, size=11)]
    about += [_paragraph(_("Ordered on %(day)s") % {"day": _day(order.created_at)}, right=True, grey=True)]
    barcode = code128.Code128(order.number, barHeight=9 * mm, barWidth=0.9, quiet=0)
    to = [_paragraph(_("Ship to"), grey=True, size=8)]
    to += [_paragraph(_compact(line), size=10) for line in address_lines(order)] or [_paragraph("-")]
    halves = [_WIDTH * 0.55, _WIDTH * 0.45]
    plain = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("ALIGN", (1, 0), (1, -1), "RIGHT"),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 0),
        ]
    )
    return [
        Table([[shop, about]], colWidths=halves, style=plain),
        Spacer(0, 6 * mm),
        Table([[to, barcode]], colWidths=halves, style=plain),
        Spacer(0, 8 * mm),
    ]


def _compact(line: str) -> str:
    """The line, in so few lines that the address fits on a page whatever was typed."""
    parts = [part.strip() for part in line[:_LONGEST_LINE].splitlines() if part.strip()]
    return "\n".join([*parts[:_MOST_LINES], *([", ".join(parts[_MOST_LINES:])] if parts[_MOST_LINES:] else [])])


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    widths: Sequence[Any],
    *,
    numbers: set[int],
    boxes: bool = False,
) -> Table:
    """Rows below their heads, which each page repeats. The column without a width takes what is left."""
    left = _WIDTH - sum(width for width in widths if width)
    cells = [
        [_paragraph(head, bold=True, right=place in numbers, size=8) for place, head in enumerate(heads)],
        *([_paragraph(cell, right=place in numbers) for place, cell in enumerate(row)] for row in rows),
    ]
    style = [
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE" if boxes else "TOP"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, _LINE),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2),
        ("TOPPADDING", (0, 0), (-1, -1), 4),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
    ]
    if boxes:
        cells[1:] = [[_Box(), *row[1:]] for row in cells[1:]]
    return Table(cells, colWidths=[width or left for width in widths], repeatRows=1, style=style)


class _Box(Flowable):  # type: ignore[misc] # reportlab has no types
    """A box to tick while packing."""

    def __init__(self) -> None:
        super().__init__()
        self.width = self.height = 3.6 * mm

    def draw(self) -> None:
        self.canv.setLineWidth(0.6)
        self.canv.rect(0, 0, self.width, self.height)


def _day(at: Any) -> str:  # noqa: ANN401 - a time that is there
    return str(date_format(localtime(at), "DATE_FORMAT"))
