"""A server on this machine that speaks the parts of Stripe's API that we use, with its idempotency keys and faults."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SECRET_KEY = "sk_test_of_this_machine"


class _Refusal(Exception):
    """What Stripe answers instead of what was asked for."""

    def __init__(self, status: int, kind: str, code: str, **more: object) -> None:
        super().__init__(code)
        self.status = status
        self.error = {"type": kind, "code": code, "message": f"Stripe says {code}.", **more}


@dataclass
class Request:
    """What was asked of the server."""

    method: str
    path: str
    params: Mapping[str, str]
    key: str


@dataclass
class Books:
    """All that the server knows, and what it is to do wrong.

    `faults` has, for the end of a path, how the next such request fails: `lost` (no effect, no answer), `unheard` (an
    effect, no answer), `late` (an answer after `released`), or a status (no effect, and Stripe repeats its own 5xx).
    `muddled` has its effect, but Stripe says 500, and repeats that.
    """

    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    answered: dict[str, tuple[Mapping[str, str], int, Any]] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    refund_status: str = "succeeded"
    lock: threading.RLock = field(default_factory=threading.RLock)
    released: threading.Event = field(default_factory=threading.Event)

    def calls(self) -> list[str]:
        """The requests in short: `create`, `confirm`, `capture` …"""
        return [f"{each.method} {re.sub(r'pi_[0-9]+', 'ID', each.path)}" for each in self.requests]

    def confirm_by_customer(self, *, approved: bool) -> None:
        """The customer answers the bank."""
        for intent in self.intents.values():
            if intent["status"] == "requires_action":
                intent["next_action"] = None
                intent["status"] = "requires_capture" if approved else "requires_payment_method"
                if not approved:
                    intent["last_payment_error"] = _error("payment_intent_authentication_failure")

    # --- What each address does ---------------------------------------------------------------

    def do(self, method: str, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        match [method, *path.removeprefix("/v1/").split("/")]:
            case ["POST", "payment_intents"]:
                return self._create(params)
            case ["GET", "payment_intents", key]:
                return self._intent(key)
            case ["POST", "payment_intents", key, action]:
                return {"confirm": self._confirm, "capture": self._capture, "cancel": self._cancel}[action](
                    self._intent(key), params
                )
            case ["POST", "refunds"]:
                return self._refund(params)
            case ["GET", "refunds"]:
                found = [each for each in self.refunds.values() if each["payment_intent"] == params["payment_intent"]]
                return {"object": "list", "data": found, "has_more": False, "url": "/v1/refunds"}
        raise _Refusal(404, "invalid_request_error", "resource_missing")

    def _create(self, params: Mapping[str, str]) -> dict[str, Any]:
        if int(params["amount"]) < 50:
            raise _Refusal(400, "invalid_request_error", "amount_too_small")
        key = f"pi_{len(self.intents) + 1}"
        self.intents[key] = {
            "id": key,
            "object": "payment_intent",
            "status": "requires_payment_method",
            "amount": int(params["amount"]),
            "currency": params["currency"],
            "capture_method": params["capture_method"],
            "client_secret": f"{key}_secret",
            "last_payment_error": None,
            "latest_charge": None,
            "next_action": None,
            "metadata": {"payment_id": params["metadata[payment_id]"]},
        }
        return self.intents[key]

    def _intent(self, key: str) -> dict[str, Any]:
        if key not in self.intents:
            raise _Refusal(404, "invalid_request_error", "resource_missing")
        return self.intents[key]

    def _confirm(self, intent: dict[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
        _expect(intent, "requires_payment_method")
        token = params.get("payment_method") or params["payment_method_data[card][token]"]
        if token == "pm_unknown":
            raise _Refusal(400, "invalid_request_error", "resource_missing")
        if token in ("pm_declined", "pm_poor"):
            why = {"pm_declined": "generic_decline", "pm_poor": "insufficient_funds"}[token]
            intent["last_payment_error"] = _error("card_declined", decline_code=why)
            raise _Refusal(402, "card_error", "card_declined", decline_code=why)
        intent["status"] = {"pm_3ds": "requires_action", "pm_slow": "processing"}.get(token, "requires_capture")
        if token == "pm_3ds":
            intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        return intent

    def _capture(self, intent: dict[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
        del params
        _expect(intent, "requires_capture")
        intent["status"] = "succeeded"
        charge = f"ch_{intent['id']}"
        intent["latest_charge"] = {"id": charge, "object": "charge", "amount_refunded": 0}
        return intent

    def _cancel(self, intent: dict[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
        del params
        _expect(intent, "requires_payment_method", "requires_capture", "requires_action")
        intent["status"] = "canceled"
        return intent

    def _refund(self, params: Mapping[str, str]) -> dict[str, Any]:
        intent = self._intent(params["payment_intent"])
        _expect(intent, "succeeded")
        charge, amount = intent["latest_charge"], int(params["amount"])
        if charge["amount_refunded"] + amount > intent["amount"]:
            raise _Refusal(400, "invalid_request_error", "charge_already_refunded")
        charge["amount_refunded"] += amount
        key = f"re_{len(self.refunds) + 1}"
        self.refunds[key] = {
            "id": key,
            "object": "refund",
            "status": self.refund_status,
            "amount": amount,
            "failure_reason": None,
            "payment_intent": intent["id"],
            "metadata": {"refund_id": params["metadata[refund_id]"]},
        }
        return self.refunds[key]


def _error(code: str, **more: str) -> dict[str, str]:
    return {"type": "card_error", "code": code, "message": f"Stripe says {code}.", **more}


def _expect(intent: Mapping[str, Any], *statuses: str) -> None:
    if intent["status"] not in statuses:
        raise _Refusal(400, "invalid_request_error", "payment_intent_unexpected_state")


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    books: Books

    def do_GET(self) -> None:
        self._answer(dict(parse_qsl(urlsplit(self.path).query)))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(dict(parse_qsl(body.decode(), keep_blank_values=True)))

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _answer(self, params: Mapping[str, str]) -> None:
        path, key = urlsplit(self.path).path, self.headers.get("Idempotency-Key", "")
        books = self.books
        with books.lock:
            books.requests.append(Request(self.command, path, params, key))
            fault = next((each for each in books.faults if path.endswith(each[0])), None)
            if fault:
                books.faults.remove(fault)
            how = fault[1] if fault else ""
            if how == "lost":
                self.close_connection = True
                return
            status, answer, is_replayed = self._decide(path, key, params, how)
        if how == "late":
            books.released.wait(30)
        if how in ("unheard", "late"):
            self.close_connection = True
            return
        self._send(status, answer, is_replayed=is_replayed)

    def _decide(self, path: str, key: str, params: Mapping[str, str], how: str) -> tuple[int, Any, bool]:
        """The status and the answer, and whether it is an old one."""
        if self.headers.get("Authorization") != f"Bearer {SECRET_KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}}, False
        before = self.books.answered.get(key)
        if before and before[0] != params:
            return 400, {"error": {"type": "idempotency_error", "message": "Other parameters."}}, False
        if before:
            return before[1], before[2], True
        answer: Any
        if how[:3].isdigit():
            if how.endswith("after all"):
                self.books.do(self.command, path, params)
            status, answer = int(how[:3]), {"error": {"type": "api_error", "message": "Something went wrong."}}
        else:
            try:
                status, answer = 200, self.books.do(self.command, path, params)
            except _Refusal as refusal:
                status, answer = refusal.status, {"error": refusal.error}
        if how == "muddled":
            status, answer = 500, {"error": {"type": "api_error", "message": "Something went wrong."}}
        answer = json.loads(json.dumps(answer))
        if key and status not in (400, 404, 409, 429):
            self.books.answered[key] = (params, status, answer)
        return status, answer, False

    def _send(self, status: int, answer: object, *, is_replayed: bool) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if is_replayed:
            self.send_header("Idempotent-Replayed", "true")
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve() -> Iterator[tuple[str, Books]]:
    """The server's address, and its books."""
    books = Books()
    handler = type("Handler", (_Handler,), {"books": books})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", books
    finally:
        books.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
