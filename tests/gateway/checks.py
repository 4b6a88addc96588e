"""What the gateway must do, a function for each feature: it passes with the whole configuration and fails without what
it is about (`test_features.py`).
"""

import re
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.gateway.gateway import LIMITS, ORIGIN, Reply, Running
from tests.gateway.upstreams import Answer, Seen

ID = "0199fec7-8a33-7000-a4c1-4bd1f700e5f6"
JSON = {"Content-Type": "application/json"}
SIGNED = "/api/v1/payments/webhooks/sandbox"  # anybody may call it, and it writes


def refused(reply: Reply, status: int, code: str) -> None:
    """The gateway's own answer, in the shape of all errors."""
    assert (reply.status, reply.code) == (status, code)
    assert reply.json()["type"] == ("server_error" if status >= 500 else "client_error")
    assert reply.headers["content-type"] == "application/json"
    assert re.fullmatch("[0-9a-f-]{32,36}", reply.headers["x-request-id"])


def routes(gateway: Running) -> None:
    places = {
        "/api/v1/users/register": "users",
        "/.well-known/jwks.json": "users",
        "/api/v1/products": "products",
        f"/api/v1/products/{ID}": "products",
        "/api/v1/categories": "products",
        "/media/products/lamp.png": "products",
        SIGNED: "orders",
        "/": "admin",
        "/ready": "admin",
        "/admin/": "admin",
        "/static/admin/css/base.css": "admin",
        "/api/schema/": "admin",
        "/api/v1/productsmore": "admin",
    }
    for path, service in places.items():
        gateway.backend.reset()
        assert gateway.get(path).status == 200
        arrived = {
            name: [seen.path for seen in gateway.seen(name)] for name in ("users", "products", "orders", "admin")
        }
        assert arrived == {"users": [], "products": [], "orders": [], "admin": [], service: [path]}


def routes_callers(gateway: Running) -> None:
    for path, service in {
        "/api/v1/users/profile": "users",
        "/api/v1/orders": "orders",
        f"/api/v1/orders/{ID}": "orders",
        "/api/v1/webhooks/endpoints": "orders",
    }.items():
        gateway.backend.reset()
        assert gateway.ask("GET", path, gateway.bearer("admin")).status == 200
        assert [seen.path for seen in gateway.seen(service)] == [path]


def balances_load(gateway: Running) -> None:
    gateway.settle("products", "/api/v1/products")
    for _ in range(10):
        assert gateway.get("/api/v1/products").status == 200
    assert [len(host.seen) for host in gateway.backend["products"]] == [5, 5]


def hides_metrics(gateway: Running) -> None:
    for path in (
        "/metrics",
        "/metrics/",
        "/metrics?name=up",
        "/%6detrics",
        "/%6Detric%73",
        "/./metrics",
        "/a/../metrics",
    ):
        refused(gateway.get(path), 404, "not_found")
    assert gateway.seen("admin") == []
    # What comes close is an address of its own, which no process has.
    assert gateway.get("/metricsandmore").status == 200


def _signed_with_a_secret() -> str:
    return jwt.encode({"sub": "x"}, "nobody of ours signs with a secret", algorithm="HS256")


def verifies_tokens(gateway: Running) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    bad = [
        {"Authorization": f"Bearer {gateway.backend.token(key=stranger)}"},
        gateway.bearer(exp=1_700_000_000),
        gateway.bearer(iss="somebody"),
        gateway.bearer(aud="something"),
        {"Authorization": "Bearer rubbish"},
        {"Authorization": "bearer"},
        gateway.bearer(kid="another"),
        {"Authorization": f"Bearer {_signed_with_a_secret()}"},
    ]
    for headers in bad:
        reply = gateway.ask("GET", "/api/v1/orders", headers)
        refused(reply, 401, "invalid_token")
        assert reply.headers["www-authenticate"] == 'Bearer realm="api"'
        refused(gateway.ask("GET", "/api/v1/products", headers), 401, "invalid_token")
    for headers in ({}, {"Authorization": "Basic YTpi"}):
        refused(gateway.ask("GET", "/api/v1/orders", headers), 401, "not_authenticated")
    assert gateway.seen("orders") == gateway.seen("products") == []
    # Whoever logs in may have an old token with them.
    assert gateway.ask("POST", "/api/v1/users/login", bad[0]).status == 200
    token = gateway.backend.token()
    assert gateway.ask("GET", "/api/v1/orders", {"Authorization": f"bearer  {token}"}).status == 200


def takes_no_token_from_the_query(gateway: Running) -> None:
    refused(gateway.get(f"/api/v1/orders?access_token={gateway.backend.token()}"), 401, "not_authenticated")
    assert gateway.seen("orders") == []


def says_who_is_asking(gateway: Running) -> None:
    assert gateway.ask("GET", "/api/v1/orders", gateway.bearer("order_staff", sub="ada")).status == 200
    (seen,) = gateway.seen("orders")
    assert (seen.headers["x-user-id"], seen.headers["x-user-role"]) == ("ada", "order_staff")
    assert "x-jwt-payload" in seen.headers
    assert seen.headers["authorization"].startswith("Bearer ")
    assert "x-bearer-token" not in seen.headers


def checks_roles(gateway: Running) -> None:
    path = "/api/v1/products"
    for role in ("user", "order_staff", ""):
        reply = gateway.ask("POST", path, {**gateway.bearer(role), **JSON}, "{}")
        refused(reply, 403, "permission_denied")
        assert reply.json()["errors"][0]["detail"] == "You do not have permission to perform this action."
    assert gateway.seen("products") == []
    for role in ("catalog_staff", "admin"):
        assert gateway.ask("POST", path, {**gateway.bearer(role), **JSON}, "{}").status == 200


def strips_identity(gateway: Running) -> None:
    spoofed = {
        "X-User-ID": "eve",
        "x-user-role": "admin",
        "X-User-Anything": "1",
        "X-JWT-Payload": "e30",
        "X-Bearer-Token": gateway.backend.token("admin"),
        "X-Envoy-Upstream-RQ-Timeout-Ms": "1",
    }
    assert gateway.ask("GET", "/api/v1/products", spoofed).status == 200
    (seen,) = gateway.seen("products")
    assert [name for name in seen.headers if name in {each.lower() for each in spoofed}] == []
    refused(gateway.ask("GET", "/api/v1/orders", spoofed), 401, "not_authenticated")


def refuses_underscores(gateway: Running) -> None:
    refused(gateway.ask("GET", "/api/v1/products", {"x_user_id": "eve"}), 400, "bad_request")
    assert gateway.seen("products") == []


def limits_addresses(gateway: Running) -> None:
    # A few more than the limit come through, as time goes by.
    replies = [gateway.get("/") for _ in range(LIMITS.per_address + 10)]
    _throttled(replies, LIMITS.per_address)
    assert gateway.newcomer().get("/").status == 200


def limits_log_ins(gateway: Running) -> None:
    paths = ["/api/v1/users/login", "/api/v1/users/register", "/api/v1/users", "/api/v1/users/token/refresh"]
    replies = [gateway.ask("POST", path) for path in paths]
    _throttled(replies, LIMITS.credentials)
    assert len(gateway.seen("users")) == LIMITS.credentials
    assert gateway.get("/").status == 200
    assert gateway.newcomer().ask("POST", paths[0]).status == 200


def limits_users(gateway: Running) -> None:
    headers = gateway.bearer(sub="hasty")
    replies = [gateway.newcomer().ask("GET", "/api/v1/orders", headers) for _ in range(LIMITS.per_user + 5)]
    _throttled(replies, LIMITS.per_user)
    assert gateway.ask("GET", "/api/v1/orders", gateway.bearer(sub="patient")).status == 200


def _throttled(replies: list[Reply], limit: int) -> None:
    assert [reply.status for reply in replies[:limit]] == [200] * limit
    refusals = [reply for reply in replies if reply.status != 200]
    assert refusals
    refusal = refusals[0]
    refused(refusal, 429, "throttled")
    seconds = int(refusal.headers["retry-after"])
    unit = "second" if seconds == 1 else "seconds"
    sentence = f"Request was throttled. Expected available in {seconds} {unit}."
    assert refusal.json()["errors"][0]["detail"] == sentence


def breaks_circuits(gateway: Running) -> None:
    release = hang(gateway, "admin")
    with ThreadPoolExecutor(12) as pool:
        replies = [pool.submit(gateway.ask, "POST", "/busy") for _ in range(12)]
        # Four connections and one request that waits: all others are answered while those hang. They may be more, as
        # what waits for its connection to open waits, too.
        gateway.eventually(lambda: sum(reply.done() for reply in replies) >= 7)
        early = [reply.result() for reply in replies if reply.done()]
        release.set()
    for reply in early:
        refused(reply, 503, "service_unavailable")
    assert {reply.result().status for reply in replies} == {200, 503}


def ejects_hosts(gateway: Running) -> None:
    gateway.settle("orders", SIGNED)
    good, bad = gateway.backend["orders"]
    bad.answer = lambda _: Answer(503, {"Retry-After": "5"})
    for _ in range(20):
        gateway.ask("POST", SIGNED)
    # It says that another service is away.
    assert (len(good.seen), len(bad.seen)) == (10, 10)
    gateway.settle("orders", SIGNED)
    bad.answer = lambda _: Answer(503)
    for _ in range(20):
        gateway.ask("POST", SIGNED)
    assert (len(good.seen), len(bad.seen)) == (15, 5)
    bad.reset()
    gateway.eventually(lambda: gateway.newcomer().ask("POST", SIGNED).status == 200 and bool(bad.seen))


def checks_health(gateway: Running) -> None:
    good, ill = gateway.backend["products"]
    ill.is_healthy = False

    def avoids_it() -> bool:
        ill.seen = []
        return {gateway.newcomer().get("/api/v1/products").status for _ in range(4)} == {200} and not ill.seen

    gateway.eventually(avoids_it)
    good.is_healthy = False
    gateway.eventually(lambda: gateway.newcomer().get("/api/v1/products").status == 503)
    reply = gateway.newcomer().get("/api/v1/products")
    refused(reply, 503, "service_unavailable")
    sentence = "The products service does not answer. Try again in a moment."
    assert (reply.headers["retry-after"], reply.json()["errors"][0]["detail"]) == ("5", sentence)
    good.is_healthy = ill.is_healthy = True
    gateway.eventually(lambda: [gateway.newcomer().get("/api/v1/products").status for _ in range(4)] == [200] * 4)


def answers_health(gateway: Running) -> None:
    reply = gateway.get("/health")
    assert (reply.status, reply.body) == (200, b'{"status": "ok"}')
    assert reply.headers["content-type"] == "application/json"
    assert "x-request-id" in reply.headers
    assert gateway.seen("admin") == []
    (users,) = gateway.backend["users"]
    users.is_healthy = False
    gateway.eventually(lambda: gateway.newcomer().get("/health").status == 503)
    reply = gateway.get("/health")
    refused(reply, 503, "service_unavailable")
    assert reply.headers["retry-after"] == "5"
    users.is_healthy = True
    gateway.eventually(lambda: gateway.newcomer().get("/health").status == 200)


def tries_reads_again(gateway: Running) -> None:
    gateway.settle("orders", SIGNED)
    _, bad = gateway.backend["orders"]
    bad.answer = lambda _: Answer(503)
    statuses = [gateway.ask("GET", "/api/v1/orders", gateway.bearer()).status for _ in range(4)]
    assert statuses == [200] * 4
    assert bad.seen
    assert len(gateway.seen("orders")) == 4 + len(bad.seen)


def tries_writes_once(gateway: Running) -> None:
    gateway.settle("orders", SIGNED)
    _, bad = gateway.backend["orders"]
    bad.answer = lambda _: Answer(503)
    statuses = [gateway.ask("POST", SIGNED).status for _ in range(4)]
    assert sorted(statuses) == [200, 200, 503, 503]
    assert len(gateway.seen("orders")) == 4


def ends_slow_calls(gateway: Running) -> None:
    release = hang(gateway, "users", "products")
    for method, path, name in (("GET", "/api/v1/users/login", "users"), ("POST", "/api/v1/users/register", "users")):
        reply = gateway.ask(method, path)
        refused(reply, 503, "service_unavailable")
        sentence = f"The {name} service does not answer. Try again in a moment."
        assert (reply.headers["retry-after"], reply.json()["errors"][0]["detail"]) == ("5", sentence)
    release.set()


def waits_for_payments(gateway: Running) -> None:
    release = hang(gateway, "orders")
    with ThreadPoolExecutor(2) as pool:
        payment = pool.submit(gateway.ask, "POST", f"/api/v1/orders/{ID}/pay", gateway.bearer())
        gateway.eventually(lambda: sum(host.begun for host in gateway.backend["orders"]) == 1)
        note = pool.submit(gateway.ask, "PATCH", f"/api/v1/orders/{ID}", gateway.bearer())
        assert note.result().status == 503
        release.set()
        assert payment.result().status == 200


def follows_orders(gateway: Running) -> None:
    # It takes longer than any other call may, and the first event is there before the second has happened.
    go_on = threading.Event()

    def events() -> Iterator[bytes]:
        yield b"id: 1\n\n"
        go_on.wait(20)
        yield b"id: 2\n\n"

    release = hang(gateway, "orders")
    for host in gateway.backend["orders"]:
        host.streams["/events"] = events
    connection = gateway.open("GET", f"/api/v1/orders/{ID}/events", gateway.bearer())
    response = connection.getresponse()
    assert response.read(7) == b"id: 1\n\n"
    assert gateway.ask("PATCH", f"/api/v1/orders/{ID}", gateway.bearer()).status == 503  # when its time was up
    go_on.set()
    release.set()
    assert response.read(7) == b"id: 2\n\n"
    connection.close()


def changes_headers(gateway: Running) -> None:
    reply = gateway.get("/api/v1/products")
    assert "server" not in reply.headers
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-frame-options"] == "DENY"
    assert [name for name in reply.headers if name.startswith("x-envoy-")] == []
    (seen,) = gateway.seen("products")
    assert seen.headers["x-forwarded-proto"] == "http"
    assert "x-forwarded-for" in seen.headers


def gives_request_ids(gateway: Running) -> None:
    for given in ("0B7c6d2a-3d7e-4a51-9a51-0242ac120002", "0b7c6d2a3d7e4a519a510242ac120002"):
        reply = gateway.ask("GET", "/api/v1/products", {"X-Request-ID": given})
        assert (reply.headers["x-request-id"], gateway.seen("products")[-1].headers["x-request-id"]) == (given, given)
        gateway.backend.reset()
    for headers in ({}, {"X-Request-ID": "rubbish"}):
        made = gateway.ask("GET", "/api/v1/products", headers).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
        assert [seen.headers["x-request-id"] for seen in gateway.seen("products")] == [made]
        gateway.backend.reset()


def writes_the_access_log(gateway: Running) -> None:
    reply = gateway.ask("GET", "/api/v1/orders?secret=1", gateway.bearer(sub="ada"))
    request_id = reply.headers["x-request-id"]
    gateway.eventually(lambda: any(line["request_id"] == request_id for line in gateway.log_lines()))
    (line,) = [line for line in gateway.log_lines() if line["request_id"] == request_id]
    wanted = {"method": "GET", "path": "/api/v1/orders", "status": 200, "route": "orders_read", "cluster": "orders"}
    assert {name: line[name] for name in wanted} == wanted
    assert (line["user_id"], line["client"], line["attempts"]) == ("ada", gateway.client, 1)


def answers_other_origins(gateway: Running) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "if-match"}
    reply = gateway.ask("OPTIONS", "/api/v1/orders", asked)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["access-control-allow-methods"] == "DELETE, GET, OPTIONS, PATCH, POST, PUT"
    assert "idempotency-key" in reply.headers["access-control-allow-headers"]
    assert "authorization" in reply.headers["access-control-allow-headers"]
    assert reply.headers["access-control-max-age"] == "86400"
    assert gateway.seen("orders") == []
    for service in gateway.backend.all():
        service.answer = lambda _: Answer(headers={"Access-Control-Allow-Origin": "https://other.example.com"})
    for path in ("/api/v1/products", "/api/v1/orders"):  # of the service, and of the gateway
        assert gateway.ask("GET", path, {"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN


def traces(gateway: Running) -> None:
    theirs = f"00-{'a' * 32}-{'b' * 16}-01"
    assert gateway.ask("GET", "/api/v1/products", {"traceparent": theirs}).status == 200
    (seen,) = gateway.seen("products")
    _, trace_id, _, flags = seen.headers["traceparent"].split("-")
    assert (trace_id != "a" * 32, flags) == (True, "01")
    collector = gateway.backend.collector
    gateway.eventually(lambda: any(bytes.fromhex(trace_id) in each for each in collector.received))


def takes_bodies_whole(gateway: Running) -> None:
    gateway.settle("orders", SIGNED)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        client.sendall(f"POST {SIGNED} HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n".encode() + b"{")
        # Were it handed on as it comes, the service would have it before this answer.
        assert gateway.ask("POST", SIGNED, JSON, "{}").status == 200
        assert [seen.body for seen in gateway.seen("orders")] == [b"{}"]
        assert sum(host.begun for host in gateway.backend["orders"]) == 1
        client.sendall(b"}")
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def limits_bodies(gateway: Running) -> None:
    reply = gateway.ask("POST", SIGNED, JSON, b"x" * (1024 * 1024 + 1))
    refused(reply, 413, "request_too_large")
    assert reply.json()["errors"][0]["detail"] == "The request body is larger than 1048576 bytes."
    assert gateway.seen("orders") == []
    assert gateway.ask("POST", SIGNED, JSON, b"x" * 1024 * 1024).status == 200


def lets_files_in(gateway: Running) -> None:
    content = b"x" * 5 * 1024 * 1024
    for path in ("/api/v1/products/import", f"/api/v1/products/{ID}/images"):
        assert gateway.ask("POST", path, gateway.bearer("catalog_staff"), content).status == 200
    assert [len(seen.body) for seen in gateway.seen("products")] == [len(content)] * 2


def wants_lengths(gateway: Running) -> None:
    for encoding in ("chunked", "gzip, chunked"):
        connection = gateway.open("GET", "/")
        connection.getresponse().read()
        headers = {"Transfer-Encoding": encoding}
        connection.request("POST", SIGNED, iter([b"{}"]), headers, encode_chunked=True)
        response = connection.getresponse()
        reply = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        refused(reply, 411, "length_required")
    assert gateway.seen("orders") == []


def normalises_paths(gateway: Running) -> None:
    for path in ("/nothing/../api/v1/orders", "/api/v1/%6frders", "/api/v1%2Forders"):
        refused(gateway.get(path), 401, "not_authenticated")
    refused(gateway.get("/api/v1/products%00"), 400, "null_character")
    assert gateway.seen("admin") == gateway.seen("orders") == []


def lets_browsers_of_staff_in(gateway: Running) -> None:
    cases = [{"Cookie": "a=b; sessionid=x"}, {"Accept": "text/html,*/*"}]
    for headers in cases:
        assert gateway.ask("GET", "/api/v1/orders", headers).status == 200
    assert [seen.path for seen in gateway.seen("admin")] == ["/api/v1/orders"] * 2
    assert gateway.ask("GET", "/api/v1/orders", {**cases[0], **gateway.bearer()}).status == 200
    assert len(gateway.seen("orders")) == 1


def speaks_grpc(gateway: Running) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/user.UserService/GetUser")
        request = gateway.backend.protos.make("user.GetUserRequest", id="7").SerializeToString()
        answer = gateway.backend.protos.read(
            "user.GetUserResponse", call(request, metadata=_metadata(gateway), timeout=5)
        )
        assert (answer.id, answer.username) == ("7", "ada")  # type: ignore[attr-defined]
        for metadata, sentence in (
            ((), "Authentication credentials were not provided."),
            ((("authorization", "Bearer x"),), "The token is not valid, has expired, or its session has ended."),
        ):
            with pytest.raises(grpc.RpcError) as refusal:
                call(request, metadata=metadata, timeout=5)
            assert (refusal.value.code(), refusal.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, sentence)
        unknown_call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/nobody.Service/Call")
        with pytest.raises(grpc.RpcError) as unknown:
            unknown_call(b"", timeout=5)
        assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED
    ((method, seen),) = gateway.backend.grpc.seen
    assert (method, seen["x-user-role"]) == ("GetUser", "user")


def ends_slow_grpc(gateway: Running) -> None:
    request = gateway.backend.protos.make("user.GetUserRequest", id="slow").SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/user.UserService/GetUser")
        answer = call.future(request, metadata=_metadata(gateway))
        gateway.eventually(answer.done)
        # The service has been told of the time-out, and may have been the first to answer.
        assert answer.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def streams_grpc(gateway: Running) -> None:
    release = hang(gateway, "orders")
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        watch: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/order.OrderService/WatchOrder")
        changes = watch(b"", metadata=_metadata(gateway))
        statuses = [gateway.backend.protos.read("order.WatchOrderResponse", next(changes))]
        assert gateway.ask("PATCH", f"/api/v1/orders/{ID}", gateway.bearer()).status == 503  # when its time was up
        gateway.backend.grpc.go_on.set()
        statuses += [gateway.backend.protos.read("order.WatchOrderResponse", each) for each in changes]
    release.set()
    assert [each.status for each in statuses] == ["pending", "paid"]  # type: ignore[attr-defined]


def speaks_grpc_web(gateway: Running) -> None:
    message = gateway.backend.protos.make("user.GetUserRequest", id="7").SerializeToString()
    headers = {"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1", "Origin": ORIGIN, **gateway.bearer()}
    frame = struct.pack(">BI", 0, len(message)) + message
    reply = gateway.ask("POST", "/user.UserService/GetUser", headers, frame)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/grpc-web+proto")
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    flag, length = struct.unpack(">BI", reply.body[:5])
    answer = gateway.backend.protos.read("user.GetUserResponse", reply.body[5 : 5 + length])
    assert (flag, answer.username) == (0, "ada")  # type: ignore[attr-defined]
    assert b"grpc-status:0" in reply.body[5 + length :].replace(b" ", b"")


def transcodes_json(gateway: Running) -> None:
    headers = {**JSON, **gateway.bearer()}
    reply = gateway.ask("POST", "/user.UserService/GetUser", headers, '{"id": "7"}')
    assert (reply.status, reply.json()) == (200, {"id": "7", "username": "ada", "active": False})
    assert [name for name in reply.headers if name.startswith("grpc-")] == []
    refused(gateway.ask("POST", "/user.UserService/GetUser", JSON, "{}"), 401, "not_authenticated")
    refused(gateway.ask("POST", "/user.UserService/GetUser", headers, '{"id":'), 400, "bad_request")


def transforms_errors_of_grpc(gateway: Running) -> None:
    headers = {**JSON, **gateway.bearer()}
    reply = gateway.ask("POST", "/user.UserService/GetUser", headers, '{"id": "nobody"}')
    refused(reply, 404, "user_not_found")
    assert reply.json()["errors"][0]["detail"] == 'There is no "such" user.'
    assert [name for name in reply.headers if name.startswith("grpc-") or name == "error-code"] == []


def _metadata(gateway: Running) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in gateway.bearer().items())


def hang(gateway: Running, *names: str) -> threading.Event:
    """Have services answer only after this is set."""
    release = threading.Event()

    def answer(_: Seen) -> Answer:
        release.wait(20)
        return Answer()

    for name in names:
        for host in gateway.backend[name]:
            host.answer = answer
    return release
