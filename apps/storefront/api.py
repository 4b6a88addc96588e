"""The shop's REST API, as these pages call it. They know nothing of the shop that it does not say.

It is called in this process, past the network: a page that asked its own server would wait for a thread that other such
pages hold. With `STOREFRONT_API` it is called at that address instead.
"""

from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.servers.basehttp import get_internal_wsgi_application
from django.http import HttpRequest
from django_guid import get_guid

from apps.common.addresses import client_address

JSON = dict[str, Any]

_SECONDS = 20
_BROKEN = 500


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its code, a sentence in English, and the part of the input that it is about."""

    code: str
    detail: str
    attr: str


class Refused(Exception):
    """The API has said no."""

    def __init__(self, status: int, problems: list[Problem], retry_after: int = 0) -> None:
        self.status = status
        self.problems = problems
        self.retry_after = retry_after
        super().__init__(f"{status}: {'; '.join(problem.detail for problem in problems)}")

    def has(self, code: str) -> bool:
        return any(problem.code == code for problem in self.problems)


class Unreachable(Refused):
    """The API has not answered, or not in its own words."""

    def __init__(self) -> None:
        super().__init__(503, [Problem("unavailable", "The shop does not answer.", "")], retry_after=5)


class Api:
    """Calls on behalf of one visitor, whose address they carry, so that limits count for visitors and not for us."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def get(self, path: str, *, token: str = "", **query: object) -> JSON:
        return self.call("GET", path, token=token, query=query)

    def post(self, path: str, body: JSON | None = None, *, token: str = "", key: str = "") -> JSON:
        return self.call("POST", path, token=token, body=body, key=key)

    def call(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        query: Mapping[str, object] | None = None,
        body: JSON | None = None,
        key: str = "",
    ) -> JSON:
        """What the API answers; nothing, as `{}`.

        Raises:
            Refused: it says no.
            Unreachable: it does not say anything.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key:
            headers["Idempotency-Key"] = key
        wanted = {name: value for name, value in (query or {}).items() if value is not None and value != ""}
        try:
            answer = self._send(method, path, headers=headers, params=wanted, json=body)
        except httpx.HTTPError as error:
            raise Unreachable from error
        return _read(answer)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:  # noqa: ANN401 - httpx's arguments
        client, headers = _elsewhere_or_here(self._request)
        content["headers"] = {**headers, **content["headers"]}
        content = {name: value for name, value in content.items() if value or name == "headers"}
        # The language, the request's id and the like are those of the page again afterwards.
        send: Callable[..., httpx.Response] = client.request
        return copy_context().run(send, method, f"api/v1/{path}", **content)


def _elsewhere_or_here(request: HttpRequest) -> tuple[httpx.Client, dict[str, str]]:
    headers = {"Accept": "application/json"}
    if request_id := get_guid():
        headers["X-Request-ID"] = request_id
    if settings.STOREFRONT_API:
        return _elsewhere(settings.STOREFRONT_API), {**headers, "X-Forwarded-For": client_address(request)}
    transport = httpx.WSGITransport(_here, remote_addr=client_address(request) or "127.0.0.1")
    return httpx.Client(transport=transport, base_url=request.build_absolute_uri("/"), trust_env=False), headers


def _here(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """This process's own application, as a part of the request that is being answered: no signal says that a request
    has ended, upon which Django would close the connections that the page still needs.
    """
    answer = get_internal_wsgi_application().get_response(WSGIRequest(environ))
    start_response(f"{answer.status_code} {answer.reason_phrase}", list(answer.items()))
    return [b"".join(answer)]


@cache
def _elsewhere(address: str) -> httpx.Client:
    """One client for all threads: it keeps connections open."""
    return httpx.Client(base_url=address, timeout=_SECONDS, trust_env=False)


def _read(answer: httpx.Response) -> JSON:
    try:
        data = answer.json() if answer.content else {}
    except ValueError as error:
        raise Unreachable from error
    if answer.is_success:
        return data if isinstance(data, dict) else {"results": data}
    if answer.status_code == _BROKEN or not isinstance(data, dict) or "errors" not in data:
        raise Unreachable
    problems = [Problem(each["code"], each["detail"], each["attr"] or "") for each in data["errors"]]
    wait = answer.headers.get("Retry-After", "")
    raise Refused(answer.status_code, problems, int(wait) if wait.isdigit() else 0)
