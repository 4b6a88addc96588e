"""Who talks to the shop: requests as they are sent, answers as they are checked and noted."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.blackbox.matching import SENTENCE, Mismatch, check, text
from tests.blackbox.target import Target, full_path, service_of
from tests.blackbox.transcript import HEADERS, Exchange, Labels

BEARER = 'Bearer realm="api"'
AGENT = "cartwright-blackbox"
# Waiting at most so long for one answer.
SECONDS = 30
_REQUEST_ID = text("request id", r"[\w-]{32,64}")
# Refusals of 400 that are about no field.
_NOT_OF_INPUT = ("parse_error", "bad_request", "null_character")
# What an `id` in an answer is the id of, by parts of its path.
_KINDS = {"users": "user", "products": "product", "categories": "category", "orders": "order", "webhooks": "endpoint"}
_PARTS = {"sessions": "session", "images": "image", "movements": "movement", "activity": "activity", "rows": "row"}
_PARTS |= {"refunds": "refund", "deliveries": "delivery", "import": "import", "imports": "import", "suggest": "hit"}


@dataclass
class Notes:
    """Where exchanges are noted, and under which names."""

    labels: Labels
    exchanges: list[Exchange] = field(default_factory=list)
    is_paused: bool = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is asked meanwhile is not noted."""
        before, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = before


@dataclass(frozen=True)
class Answer:
    """What the shop said to one request."""

    caller: str
    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    notes: Notes

    @property
    def body(self) -> Any:  # noqa: ANN401 - JSON is any of them
        """What the answer says: of JSON its value, of anything else the text, of nothing None."""
        if not self.content:
            return None
        if self.headers.get("Content-Type", "").split(";")[0].endswith("json"):
            return json.loads(self.content)
        return self.content.decode("utf-8-sig", errors="replace")

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return self.body[name]

    def said(self, status: int, body: object = ..., **headers: object) -> "Answer":
        """This status, this body if one is given, and these headers (`retry_after` is Retry-After; None: absent).

        Raises:
            Mismatch: says what is otherwise.
        """
        about = f"{self.method} {self.path} (as {self.caller})"
        if self.status != status:
            said = self.content[:500].decode("utf-8", errors="replace")
            raise Mismatch(f"{about} was answered {self.status}, not {status}: {said}")
        if body is not ...:
            check(body, self.body, about)
        for name, expected in headers.items():
            header = name.replace("_", "-").title()
            check(expected, self.headers.get(header), f"{about}, {header}")
        return self

    def refused(self, status: int, code: object, attr: object = None, *, detail: object = SENTENCE) -> "Answer":
        """A refusal for one reason, in the API's shape.

        Raises:
            Mismatch: says what is otherwise.
        """
        return self.refused_for(status, [(code, attr)], detail=detail)

    def refused_for(
        self, status: int, problems: Sequence[tuple[object, object]], *, detail: object = SENTENCE
    ) -> "Answer":
        """A refusal for these reasons (`code`, `attr`), in the API's shape.

        Raises:
            Mismatch: says what is otherwise.
        """
        kind = "server_error" if status >= 500 else "client_error"
        if status == 400 and not any(code in _NOT_OF_INPUT for code, _ in problems):
            kind = "validation_error"
        errors = [{"code": code, "detail": detail, "attr": attr} for code, attr in problems]
        challenge = {"www_authenticate": BEARER} if status == 401 else {}
        return self.said(status, {"type": kind, "errors": errors}, content_type="application/json", **challenge)

    def noted(self, body: object = ...) -> "Answer":
        """Write this answer down, or of its body only what is given: where the shop has other data besides ours."""
        if self.notes.is_paused:
            return self
        labels = self.notes.labels
        said = self._readable() if body is ... else body
        told = labels.in_json(said, _kind_of(self.path)) if not isinstance(said, str) else labels.in_text(said)
        headers = {name: labels.in_text(self.headers[name]) for name in HEADERS if name in self.headers}
        path = labels.in_text(self.path)
        self.notes.exchanges.append(Exchange(self.caller, self.method, path, self.status, headers, told))
        return self

    def _readable(self) -> Any:  # noqa: ANN401 - as above
        """The body, or what kind of file it is."""
        kind = self.headers.get("Content-Type", "").split(";")[0]
        return f"{{{kind}}}" if kind.startswith(("image/", "text/html")) else self.body


class Caller:
    """Somebody who calls the shop: a person with an access token, or nobody in particular.

    `pair` is what logging in has answered.
    """

    def __init__(self, name: str, target: Target, notes: Notes, pair: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.pair = pair or {}
        self._target = target
        self._notes = notes
        self._session = requests.Session()
        self._session.headers["User-Agent"] = AGENT

    @property
    def user(self) -> dict[str, Any]:
        """The user, as logging in has answered."""
        user: dict[str, Any] = self.pair["user"]
        return user

    @property
    def id(self) -> str:
        """The user's id."""
        return str(self.user["id"])

    def get(self, path: str, **options: Any) -> Answer:  # noqa: ANN401 - those of `send`
        return self.send("GET", path, **options)

    def post(self, path: str, json: object = None, **options: Any) -> Answer:  # noqa: ANN401
        return self.send("POST", path, json=json, **options)

    def put(self, path: str, json: object = None, **options: Any) -> Answer:  # noqa: ANN401
        return self.send("PUT", path, json=json, **options)

    def patch(self, path: str, json: object = None, **options: Any) -> Answer:  # noqa: ANN401
        return self.send("PATCH", path, json=json, **options)

    def delete(self, path: str, **options: Any) -> Answer:  # noqa: ANN401
        return self.send("DELETE", path, **options)

    def send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | Iterable[bytes] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        is_noted: bool = True,
    ) -> Answer:
        """One request, and its answer.

        Raises:
            NotAddressed: the target does not serve this path.
            Mismatch: the answer has no X-Request-ID.
        """
        response = self._session.request(
            method,
            self._target.url_of(path),
            json=json,
            data=content if content is not None else form,
            files=files,
            headers={**self._authorization(), **(headers or {})},
            timeout=SECONDS,
            allow_redirects=False,
        )
        answer = Answer(
            caller=self.name,
            method=method,
            path=full_path(path),
            status=response.status_code,
            headers=response.headers,
            content=response.content,
            notes=self._notes,
        )
        if is_noted:
            answer.noted()
        check(_REQUEST_ID, response.headers.get("X-Request-ID"), f"{method} {path}, X-Request-ID")
        return answer

    @contextmanager
    def follow(self, path: str, **headers: str) -> Iterator[requests.Response]:
        """An answer that is read while it is written: a stream of events."""
        url = self._target.url_of(path)
        with self._session.get(
            url, headers={**self._authorization(), **headers}, stream=True, timeout=SECONDS
        ) as response:
            yield response

    def _authorization(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.pair['access']}"} if self.pair else {}


def _kind_of(path: str) -> str:
    """What the ids in an answer from there are the ids of."""
    parts = path.partition("?")[0].removeprefix("/api/v1/").split("/")
    named = [_PARTS[part] for part in parts if part in _PARTS]
    return named[-1] if named else _KINDS.get(parts[0], service_of(path))
