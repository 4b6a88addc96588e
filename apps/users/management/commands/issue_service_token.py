"""`manage.py issue_service_token`: let another system call the shop over gRPC."""

from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from apps.common.errors import InvalidInput
from apps.users import service_tokens, tokens
from apps.users.interface import InvalidToken, Scope, ServiceAccount

_RENEWED_BEFORE = timedelta(days=30)


class Command(BaseCommand):
    help = "Print a token for another system; it is shown once and cannot be printed again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        scopes = [str(scope) for scope in Scope]
        parser.add_argument("name", help="what the system is called, in lists and logs")
        parser.add_argument(
            "--scope",
            action="extend",
            nargs="+",
            choices=scopes,
            required=True,
            metavar="SCOPE",
            help=f"what it may do: {', '.join(scopes)}; may be given again",
        )
        parser.add_argument("--days", type=int, default=365, help="how long the token is good (365)")
        parser.add_argument("--replace", action="store_true", help="revoke the tokens that the name had before")
        parser.add_argument(
            "--file",
            type=Path,
            help="write the token there, for its owner only; one that is there stays if it is good for 30 days more",
        )

    def handle(
        self,
        *args: object,
        name: str,
        scope: list[str],
        days: int,
        replace: bool,
        file: Path | None = None,
        **options: object,
    ) -> None:
        if not 1 <= days <= 3650:  # noqa: PLR2004 - ten years
            raise CommandError("--days must be between 1 and 3650.")
        scopes = frozenset(Scope(each) for each in scope)
        if file and _is_good(file, name, scopes):
            self.stderr.write(f"The token in {file} is good.")
            return
        before = [token for token in service_tokens.live() if token.name == name] if replace else []
        try:
            issued = service_tokens.issue(name=name, scopes=scopes, lifetime=timedelta(days=days))
        except InvalidInput as error:
            raise CommandError(str(error)) from error
        for token in before:
            service_tokens.revoke(token.pk)
        self.stderr.write(f"Token {issued.id} for {name}, good until {issued.expires_at:%Y-%m-%d}:")
        if file:
            _write(file, issued.text)
        else:
            self.stdout.write(issued.text)


def _is_good(file: Path, name: str, scopes: frozenset[Scope]) -> bool:
    """Whether the file has a token for that system, with these scopes, that is not about to expire."""
    try:
        identity = tokens.read_any(file.read_text().strip())
    except (OSError, ValueError, InvalidToken):
        return False
    caller = identity.caller
    return (
        isinstance(caller, ServiceAccount)
        and (caller.name, caller.scopes) == (name, scopes)
        and identity.expires_at - timezone.now() > _RENEWED_BEFORE
        and service_tokens.is_live(caller.id)
    )


def _write(file: Path, text: str) -> None:
    """All of it or nothing, readable by nobody else."""
    draft = file.with_name(f".{file.name}.new")
    try:
        draft.touch(mode=0o600)
        draft.write_text(f"{text}\n")
        draft.replace(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
