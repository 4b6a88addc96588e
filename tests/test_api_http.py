"""docs/api.http: every request of it is answered as somebody who tries it hopes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from rest_framework.test import APIClient

from apps.users.interface import Role
from apps.users.tests.factories import UserFactory

FILE = Path(__file__).parents[1] / "docs" / "api.http"
_VARIABLE = re.compile(r"{{([^}]+)}}")


@dataclass(frozen=True)
class Call:
    """One request as the file has it, variables and all. `name` is what later requests call its answer."""

    name: str
    method: str
    address: str
    headers: dict[str, str]
    body: str


def read() -> tuple[dict[str, str], list[Call]]:
    """The file's variables, and its requests."""
    head, *parts = re.split(r"^###.*$", FILE.read_text(), flags=re.MULTILINE)
    variables = dict(re.findall(r"^@(\w+) = (.*)$", head, re.MULTILINE))
    return variables, [parse(part) for part in parts]


def parse(part: str) -> Call:
    name = "".join(re.findall(r"^# @name (\w+)$", part, re.MULTILINE))
    top, _, body = re.sub(r"^#.*\n", "", part.strip(), flags=re.MULTILINE).partition("\n\n")
    first, *headers = top.splitlines()
    method, _, address = first.partition(" ")
    return Call(name, method, address, dict(line.split(": ", 1) for line in headers), body)


def filled(text: str, variables: dict[str, str], answers: dict[str, Any]) -> str:
    def value(match: re.Match[str]) -> str:
        name, *path = match[1].split(".")
        return str(answers[name][path[-1]]) if path else variables[name]

    return _VARIABLE.sub(value, text)


@pytest.mark.django_db
def test_every_request_is_answered() -> None:
    variables, calls = read()
    staff = {"staff": Role.CATALOG_STAFF, "shipping": Role.ORDER_STAFF}
    for name, role in staff.items():
        user = UserFactory(email=variables[name], role=role)
        user.set_password(variables["password"])
        user.save()
    answers: dict[str, Any] = {}
    statuses = []

    for call in calls:
        parts = urlsplit(filled(call.address, variables, answers))
        headers = {name: filled(text, variables, answers) for name, text in call.headers.items()}
        response = APIClient().generic(
            call.method,
            f"{parts.path}?{parts.query}",
            filled(call.body, variables, answers),
            content_type=headers.pop("Content-Type", "application/json"),
            headers=headers,
        )
        statuses.append((call.method, call.address, response.status_code))
        answers[call.name] = response.json() if response.content else {}

    assert len(calls) > 20
    assert [each for each in statuses if each[2] not in {200, 201, 204}] == []


@pytest.mark.once
def test_the_walk_through_of_the_readme_is_in_it() -> None:
    bodies = {re.sub(r"\s", "", call.body) for call in read()[1]}

    readme = (FILE.parents[1] / "README.md").read_text()
    for body in re.findall(r"'({[^']*})'", readme)[:2]:
        assert re.sub(r"\s", "", body) in bodies
