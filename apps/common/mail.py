"""What every mail to a customer has: the shop's signature, headers that machines understand, no link of strangers."""

import re
from collections.abc import Mapping
from email.utils import parseaddr
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import Context, Engine
from django.utils import translation

_LINK = re.compile(r"[/@]|\.\w")
_LONGEST_NAME = 80
# RFC 5322 allows 998 characters in a line; nobody reads as many.
LONGEST_LINE = 200


def compose(template: str, context: Mapping[str, Any], *, to: str, message_id: UUID) -> EmailMultiAlternatives:
    """The mail of three templates: `<template>.subject.txt`, `.txt` and `.html`. One that had to be sent twice is known
    as one by its id.
    """
    subject = one_line(_render(f"{template}.subject.txt", context), LONGEST_LINE)
    context = {**context, "subject": subject}
    message = EmailMultiAlternatives(
        subject=subject,
        body=_render(f"{template}.txt", context),
        to=[to],
        reply_to=[settings.SUPPORT_EMAIL] if settings.SUPPORT_EMAIL else [],
        headers={
            "Message-ID": f"<{message_id}@{_domain()}>",
            # Nobody's absence is answered to us (RFC 3834).
            "Auto-Submitted": "auto-generated",
        },
    )
    message.attach_alternative(_render(f"{template}.html", context), "text/html")
    return message


def shop() -> Mapping[str, str]:
    """What mail is signed with."""
    return {
        "name": settings.SHOP_NAME,
        "address": settings.SHOP_ADDRESS,
        "support_email": settings.SUPPORT_EMAIL or parseaddr(settings.DEFAULT_FROM_EMAIL)[1],
    }


def greeting(name: str) -> str:
    """A name to greet somebody by. Anybody can register somebody else's address: our mail must not carry a link of
    theirs.
    """
    return "" if _LINK.search(name) else one_line(name, _LONGEST_NAME)


def one_line(text: str, longest: int) -> str:
    """The text without line breaks, which would begin another header or another paragraph."""
    return " ".join(text.split())[:longest]


def _render(name: str, context: Mapping[str, Any]) -> str:
    """One template. Only a page is escaped: its name decides, not whoever writes the template."""
    template = Engine.get_default().get_template(name)
    with translation.override(settings.LANGUAGE_CODE):
        return template.render(Context(dict(context), autoescape=name.endswith(".html")))


def _domain() -> str:
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
