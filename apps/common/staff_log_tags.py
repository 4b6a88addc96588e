"""What the history of a row shows of each entry."""

from typing import TYPE_CHECKING

from django import template

from apps.common import staff_log

if TYPE_CHECKING:
    from django.contrib.admin.models import LogEntry

register = template.Library()


@register.filter
def sentence(entry: "LogEntry") -> str:
    return staff_log.sentence_of(entry)


@register.filter
def changes(entry: "LogEntry") -> list[staff_log.Change]:
    return staff_log.changes_in(entry)
