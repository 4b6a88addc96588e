"""What staff have done: Django's own log of the staff pages, with what was there before and what there is after.

Django keeps of a change which fields it was of. What they held is kept beside, in the same message, so that entries
without it can be read too. Values of secrets are not kept.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.forms import BaseForm, ModelChoiceField, PasswordInput
from django.utils.text import capfirst
from django.utils.translation import gettext, override

if TYPE_CHECKING:
    # A process that has no staff pages reads this file too, with all tags of templates.
    from django.contrib.admin.models import LogEntry

_SECRET = re.compile(r"password|secret|token", re.IGNORECASE)
_LONGEST = 300


@dataclass(frozen=True)
class Change:
    """What one field held before and after. Of a secret it is only known that it has changed."""

    field: str
    before: str = ""
    after: str = ""
    is_secret: bool = False


def message_of(action: str, before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """What is kept of something that a service did, and not a form; the action is named in English."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    changes = [_change(name, before.get(name), after.get(name), is_secret=bool(_SECRET.search(name))) for name in names]
    # What is translated is so when it is read.
    with override(None):
        return json.dumps([{"changed": {"action": str(action), **to_message(changes)}}])


def changes_of(form: BaseForm, private: Sequence[str] = ()) -> list[Change]:
    """What a valid form changes. Of the private fields no values are told."""
    found = [_of_field(form, name, is_secret=name in private or _is_secret(form, name)) for name in form.changed_data]
    # A field may think that it has changed where nothing is to be seen of it.
    return [each for each in found if each.is_secret or each.before != each.after]


def to_message(changes: Sequence[Change]) -> dict[str, Any]:
    """The changes as a part of the log's message: `fields` is Django's own."""
    values = [[each.field, each.before, each.after] for each in changes if not each.is_secret]
    return {"fields": [each.field for each in changes], "values": values}


def sentence_of(entry: "LogEntry") -> str:
    """What was done, without what has changed."""
    for part in _parts(entry):
        if action := part.get("action"):
            return gettext(action)
    if entry.is_addition():
        return gettext("Added")
    return gettext("Deleted") if entry.is_deletion() else gettext("Changed")


def changes_in(entry: "LogEntry") -> list[Change]:
    """What has changed, as far as it was noted."""
    return [change for part in _parts(entry) for change in _read(part)]


def _read(part: Mapping[str, Any]) -> Iterator[Change]:
    values = {field: (before, after) for field, before, after in part.get("values", ())}
    for field in part.get("fields", ()):
        before, after = values.get(field, ("", ""))
        yield Change(gettext(field), before, after, is_secret=field not in values)


def _parts(entry: "LogEntry") -> list[dict[str, Any]]:
    try:
        message = json.loads(entry.change_message or "[]")
    except ValueError:
        return []  # a sentence, as older programs left it
    return [part["changed"] for part in message if isinstance(part, dict) and "changed" in part]


def _is_secret(form: BaseForm, name: str) -> bool:
    if _SECRET.search(name) or name not in form.fields:
        return True
    return isinstance(form.fields[name].widget, PasswordInput)


def _of_field(form: BaseForm, name: str, *, is_secret: bool) -> Change:
    if name not in form.fields:  # a form for passwords says that the password has changed, by no field of that name
        return Change(capfirst(name), is_secret=True)
    field = form.fields[name]
    with override(None):
        label = str(field.label or capfirst(name.replace("_", " ")))
    before = form.get_initial_for_field(field, name)
    if isinstance(field, ModelChoiceField) and before and not is_secret:
        before = field.queryset.filter(pk=before).first() or before  # type: ignore[union-attr] # it always has one
    return _change(label, before, form.cleaned_data.get(name), is_secret=is_secret)


def _change(name: str, before: object, after: object, *, is_secret: bool) -> Change:
    if is_secret:
        return Change(name, is_secret=True)
    return Change(name, _shown(before), _shown(after))


def _shown(value: object) -> str:
    """A value as it can be read, and no longer than is of use."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        text = ", ".join(str(each) for each in value)
    elif isinstance(value, dict):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
