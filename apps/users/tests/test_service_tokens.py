"""Tokens of other systems: the commands that give them out, list them and take them back."""

from io import StringIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from apps.users import tokens
from apps.users.interface import Scope, ServiceAccount
from apps.users.models import ServiceToken

pytestmark = pytest.mark.django_db


def run(command: str, *arguments: str) -> str:
    output = StringIO()
    call_command(command, *arguments, stdout=output, stderr=StringIO())
    return output.getvalue()


def test_a_token_is_issued_listed_and_revoked() -> None:
    text = run("issue_service_token", "warehouse", "--scope", "products:read", "stock:write").strip()
    caller = tokens.read_any(text).caller
    row = ServiceToken.objects.get()
    scopes = frozenset({Scope.PRODUCTS_READ, Scope.STOCK_WRITE})
    assert caller == ServiceAccount(id=row.pk, name="warehouse", scopes=scopes)
    assert text not in str(vars(row))
    listed = run("list_service_tokens").split()
    assert (listed[0], listed[1], listed[3:]) == (str(row.pk), "warehouse", ["products:read", "stock:write"])
    run("revoke_service_token", str(row.pk))
    assert run("list_service_tokens") == ""
    with pytest.raises(CommandError, match="There is no such service token"):
        run("revoke_service_token", str(row.pk))


def test_replacing_revokes_the_tokens_of_that_name_only() -> None:
    run("issue_service_token", "orders", "--scope", "events")
    run("issue_service_token", "other", "--scope", "events")
    run("issue_service_token", "orders", "--scope", "events", "--replace")
    live = ServiceToken.objects.filter(revoked_at=None)
    assert sorted(live.values_list("name", flat=True)) == ["orders", "other"]
    assert ServiceToken.objects.count() == 3


def test_a_token_in_a_file_stays_while_it_is_good(tmp_path: Path) -> None:
    file = tmp_path / "token"
    issue = ("issue_service_token", "orders", "--scope", "events", "--replace", f"--file={file}")
    assert run(*issue) == ""
    first = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    run(*issue)
    assert file.read_text().strip() == first
    assert ServiceToken.objects.count() == 1
    for change in (["--scope", "tokens:read"], ["--days=29"], ["--days=29"]):
        before = file.read_text()
        run(*issue, *change)
        assert file.read_text() != before
    run(*issue)
    run("revoke_service_token", str(ServiceToken.objects.get(revoked_at=None).pk))
    before = file.read_text()
    run(*issue)
    assert file.read_text() != before
    with pytest.raises(CommandError, match="cannot be written: No such file or directory"):
        run("issue_service_token", "orders", "--scope", "events", f"--file={tmp_path / 'none' / 'token'}")


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "x" * 101])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="A service token has a name of at most 100 characters"):
        run("issue_service_token", name, "--scope", "events")
    assert not ServiceToken.objects.exists()


@pytest.mark.parametrize("days", ["0", "3651", "-1"])
def test_a_token_is_good_for_days_not_for_ever(days: str) -> None:
    with pytest.raises(CommandError, match="--days must be between 1 and 3650"):
        run("issue_service_token", "warehouse", "--scope", "events", f"--days={days}")
    assert not ServiceToken.objects.exists()


def test_an_unknown_token_cannot_be_revoked() -> None:
    with pytest.raises(CommandError, match="There is no such service token"):
        run("revoke_service_token", str(UUID(int=uuid4().int)))
