"""The table of what the gateway must do, and how to take each away from its configuration."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import grpc

from tests.gateway import checks
from tests.gateway.gateway import Config, Running

Check = Callable[[Running], None]
Damage = Callable[[Config], object]


@dataclass(frozen=True)
class Feature:
    """What is checked, and what the check must miss."""

    check: Check
    without: Damage


def manager(config: Config) -> Config:
    """The settings of all connections."""
    found: Config = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def without_filter(name: str) -> Damage:
    def damage(config: Config) -> None:
        filters = manager(config)["http_filters"]
        remaining = [each for each in filters if each["name"] != name]
        assert len(remaining) == len(filters) - 1
        manager(config)["http_filters"] = remaining

    return damage


def in_filter(name: str, *path: str | int, value: object = None) -> Damage:
    """Removes a setting of a filter, or gives it another value."""

    def damage(config: Config) -> None:
        (found,) = [each["typed_config"] for each in manager(config)["http_filters"] if each["name"] == name]
        _change(found, path, value)

    return damage


def in_manager(*path: str | int, value: object = None) -> Damage:
    return lambda config: _change(manager(config), path, value)


def in_clusters(*path: str | int, value: object = None) -> Damage:
    def damage(config: Config) -> None:
        for cluster in config["static_resources"]["clusters"]:
            if cluster["name"] != "collector":
                _change(cluster, path, value)

    return damage


def in_route(name: str, *path: str | int, value: object = None) -> Damage:
    return lambda config: _change(_route(config, name), path, value)


def without_routes(*names: str) -> Damage:
    def damage(config: Config) -> None:
        host = manager(config)["route_config"]["virtual_hosts"][0]
        for name in names:
            host["routes"].remove(_route(config, name))

    return damage


def without_early_removal(name: str) -> Damage:
    """Lets a header of a client's through."""

    def damage(config: Config) -> None:
        extension = manager(config)["early_header_mutation_extensions"][0]["typed_config"]
        extension["mutations"].remove({"remove": name})

    return damage


def in_lua(function: str) -> Damage:
    """Leaves out one function of the program."""

    def damage(config: Config) -> None:
        (found,) = [each["typed_config"] for each in manager(config)["http_filters"] if each["name"] == LUA]
        source = found["default_source_code"]
        source["inline_string"] = source["inline_string"].replace(f"function {function}(", "function unused(")

    return damage


def all_of(*damages: Damage) -> Damage:
    return lambda config: [damage(config) for damage in damages]


def retries_everything(config: Config) -> None:
    policy = _route(config, "orders_read")["route"]["retry_policy"]
    for name in ("payments", "orders"):
        _route(config, name)["route"]["retry_policy"] = policy


def one_host_each(config: Config) -> None:
    for cluster in config["static_resources"]["clusters"]:
        places = cluster["load_assignment"]["endpoints"][0]
        places["lb_endpoints"] = places["lb_endpoints"][:1]


def _route(config: Config, name: str) -> Config:
    (found,) = [each for each in manager(config)["route_config"]["virtual_hosts"][0]["routes"] if each["name"] == name]
    return dict_of(found)


def dict_of(found: Any) -> Config:  # noqa: ANN401 - what YAML has
    assert isinstance(found, dict)
    return found


def _change(place: Any, path: tuple[str | int, ...], value: object) -> None:  # noqa: ANN401 - what YAML has
    for step in path[:-1]:
        place = place[step]
    place[path[-1]]  # it is there
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value


LUA = "envoy.filters.http.lua"
CORS = "envoy.filters.http.cors"
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
JWT = "envoy.filters.http.jwt_authn"
EARLY = ("early_header_mutation_extensions", 0, "typed_config", "mutations")
DURATION = ("route", "max_stream_duration", "max_stream_duration")
FAILURES = (AssertionError, OSError, HTTPException, grpc.RpcError, struct.error, KeyError, ValueError)
FEATURES = {
    "routing to users": Feature(checks.routes, without_routes("users_read", "users")),
    "routing to products": Feature(checks.routes, without_routes("products_read", "products")),
    "routing of callers": Feature(checks.routes_callers, without_routes("orders_read", "orders")),
    "load balancing": Feature(checks.balances_load, one_host_each),
    "metrics are hidden": Feature(checks.hides_metrics, without_routes("metrics")),
    "JWT": Feature(checks.verifies_tokens, without_filter(JWT)),
    "JWT of any issuer": Feature(checks.verifies_tokens, in_filter(JWT, "providers", "cartwright", "issuer")),
    "JWT of any audience": Feature(checks.verifies_tokens, in_filter(JWT, "providers", "cartwright", "audiences")),
    "JWT from the header only": Feature(
        checks.takes_no_token_from_the_query, in_filter(JWT, "providers", "cartwright", "from_headers")
    ),
    "identity": Feature(checks.says_who_is_asking, in_filter(JWT, "providers", "cartwright", "claim_to_headers")),
    "roles": Feature(checks.checks_roles, without_filter("envoy.filters.http.rbac")),
    "spoofed identity": Feature(checks.strips_identity, in_manager(*EARLY[:1])),
    "underscores": Feature(
        checks.refuses_underscores, in_manager("common_http_protocol_options", "headers_with_underscores_action")
    ),
    "limit by address": Feature(checks.limits_addresses, without_filter("cartwright.limit_address")),
    "limit of log-ins": Feature(checks.limits_log_ins, in_filter("cartwright.limit_address", "descriptors", 1)),
    "limit by user": Feature(checks.limits_users, without_filter("cartwright.limit_user")),
    "circuit breaker": Feature(checks.breaks_circuits, in_clusters("circuit_breakers")),
    "outlier ejection": Feature(checks.ejects_hosts, in_clusters("outlier_detection")),
    "no ejection for what a service answers": Feature(
        checks.ejects_hosts,
        in_clusters("typed_extension_protocol_options", HTTP, "outlier_detection"),
    ),
    "outlier ejection of one in two": Feature(
        checks.ejects_hosts, in_clusters("outlier_detection", "max_ejection_percent")
    ),
    "outlier ejection of hosts whose health is well": Feature(
        checks.ejects_hosts, in_clusters("outlier_detection", "successful_active_health_check_uneject_host")
    ),
    "health checks": Feature(checks.checks_health, in_clusters("health_checks")),
    "no panic": Feature(checks.checks_health, in_clusters("common_lb_config", "healthy_panic_threshold")),
    "/health": Feature(checks.answers_health, without_filter("envoy.filters.http.health_check")),
    "retries": Feature(checks.tries_reads_again, in_route("orders_read", "route", "retry_policy")),
    "no retries of writes": Feature(checks.tries_writes_once, retries_everything),
    "time-outs": Feature(
        checks.ends_slow_calls,
        all_of(in_route("users_read", "route", "timeout"), in_route("users_read", "route", "retry_policy")),
    ),
    "time-outs of writes": Feature(checks.ends_slow_calls, in_route("users", "route", "timeout")),
    "time-outs per route": Feature(checks.waits_for_payments, without_routes("order_payments")),
    "server-sent events": Feature(checks.follows_orders, without_routes("order_events")),
    "headers": Feature(checks.changes_headers, without_filter("envoy.filters.http.header_mutation")),
    "no headers of Envoy": Feature(
        checks.changes_headers, in_filter("envoy.filters.http.router", "suppress_envoy_headers")
    ),
    "no server header": Feature(checks.changes_headers, in_manager("server_header_transformation")),
    "request ids": Feature(checks.gives_request_ids, without_filter(LUA)),
    "request ids in answers": Feature(checks.gives_request_ids, in_manager("always_set_request_id_in_response")),
    "access log": Feature(checks.writes_the_access_log, in_manager("access_log")),
    "CORS": Feature(checks.answers_other_origins, without_filter(CORS)),
    "tracing": Feature(checks.traces, in_manager("tracing")),
    "traces of strangers": Feature(checks.traces, without_early_removal("traceparent")),
    "whole bodies": Feature(checks.takes_bodies_whole, without_filter("envoy.filters.http.buffer")),
    "size of bodies": Feature(checks.limits_bodies, without_filter("envoy.filters.http.buffer")),
    "files": Feature(checks.lets_files_in, in_route("product_transfers", "typed_per_filter_config")),
    "lengths of bodies": Feature(checks.wants_lengths, without_routes("chunked")),
    "paths": Feature(checks.normalises_paths, in_manager("normalize_path")),
    "escaped slashes": Feature(checks.normalises_paths, in_manager("path_with_escaped_slashes_action")),
    "browsable API": Feature(checks.lets_browsers_of_staff_in, without_routes("browsable_api_1")),
    "shape of errors": Feature(checks.hides_metrics, in_manager("local_reply_config")),
    "gRPC": Feature(checks.speaks_grpc, without_routes("user_grpc")),
    "gRPC streams": Feature(checks.streams_grpc, in_route("order_watch", *DURATION, value="1s")),
    "gRPC time-outs": Feature(
        checks.ends_slow_grpc, all_of(in_route("user_grpc", *DURATION[:2]), in_route("user_grpc", "route", "timeout"))
    ),
    "gRPC-Web": Feature(checks.speaks_grpc_web, without_filter("envoy.filters.http.grpc_web")),
    "gRPC-JSON": Feature(checks.transcodes_json, without_filter("envoy.filters.http.grpc_json_transcoder")),
    "JSON of gRPC errors": Feature(checks.transforms_errors_of_grpc, in_lua("envoy_on_response")),
}
