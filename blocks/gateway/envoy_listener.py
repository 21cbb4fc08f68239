"""The front door's listener for Envoy: which filters a request passes, and every limit on it."""

from collections.abc import Mapping
from typing import Any

ACCESS_CLUSTER = "access"
"""The cluster of the access service."""

ACCESS_HEADER = "x-makerflow-access"
"""How the access service hears the route's level."""

NOT_FRAMED = {"x-frame-options": "DENY"}
"""On every answer. A page's policy may allow more, and counts before this."""

AWAY = "What answers here is away (%LOCAL_REPLY_BODY%). `makerflow status` shows how the platform is."
"""The body of Envoy's own answer 503."""

MOST_BODY_BYTES = 16 * 2**20
"""Of one request; beyond it 413. The largest of Prefect's own are below 1 MiB."""

LOG_FORMAT = (
    "%START_TIME% %REQ(:METHOD)% %PATH(NQ)% %RESPONSE_CODE% %RESPONSE_FLAGS% "
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %ROUTE_NAME%\n"
)
"""Without the query, in which a ticket may be."""

_OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"
_ASKED_ABOUT = (
    ACCESS_HEADER,
    "accept",
    "authorization",
    "cookie",
    "origin",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "upgrade",
)
_ANSWERED = (
    "cache-control",
    "content-security-policy",
    "content-type",
    "location",
    "retry-after",
    "set-cookie",
    "www-authenticate",
)


def listener(host: str, port: int, routes: Mapping[str, Any]) -> dict[str, Any]:
    """The listener on `host` and `port`, whose route table comes from `routes`."""
    return {
        "name": "front-door",
        "address": {"socket_address": {"address": host, "port_value": port}},
        # Two front doors on one port would share its requests.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": 256 * 1024,
        "filter_chains": [{"filters": [_connections(routes)]}],
    }


def typed(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    """An extension of Envoy with its configuration."""
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}", **fields}}


def _connections(routes: Mapping[str, Any]) -> dict[str, Any]:
    checked = [_level(), _authorization()]
    return typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="front_door",
        codec_type="HTTP1",
        server_header_transformation="PASS_THROUGH",
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        max_request_headers_kb=32,
        common_http_protocol_options={
            "max_headers_count": 64,
            "idle_timeout": "300s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        request_headers_timeout="10s",
        request_timeout="60s",
        stream_idle_timeout="120s",
        generate_request_id=False,
        access_log=[_access_log()],
        local_reply_config={"mappers": _own_answers()},
        http_filters=[*checked, _body_limit(), _router()],
        # A connection that is upgraded has no end of its body for which the limit could wait.
        upgrade_configs=[{"upgrade_type": "websocket", "enabled": False, "filters": [*checked, _router()]}],
        rds={"route_config_name": "front-door", "config_source": dict(routes)},
    )


def _level() -> dict[str, Any]:
    """Forget what a client says about the level; each route says its own."""
    return typed(
        "envoy.filters.http.header_mutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"remove": ACCESS_HEADER}]},
    )


def _authorization() -> dict[str, Any]:
    return typed(
        "envoy.filters.http.ext_authz",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        allowed_headers=_patterns(_ASKED_ABOUT),
        http_service={
            "server_uri": {"uri": "http://access", "cluster": ACCESS_CLUSTER, "timeout": "10s"},
            "path_prefix": "/check",
            "authorization_response": {
                "allowed_client_headers": _patterns(_ANSWERED),
                "allowed_client_headers_on_success": _patterns(("set-cookie",)),  # a session that is used is renewed
            },
        },
    )


def _body_limit() -> dict[str, Any]:
    return typed(
        "envoy.filters.http.buffer", "envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=MOST_BODY_BYTES
    )


def _router() -> dict[str, Any]:
    return typed(
        "envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
    )


def _own_answers() -> list[dict[str, Any]]:
    """What Envoy answers itself carries no route's headers; that a part is away is told, the API's clients as JSON."""
    added = [
        {"header": {"key": name, "value": value}, "append_action": _OVERWRITE} for name, value in NOT_FRAMED.items()
    ]
    away = _status("EQ", 503)
    api = {"header_filter": {"header": {"name": ":path", "string_match": {"prefix": "/api/"}}}}
    as_json = {"json_format": {"detail": AWAY}}
    as_text = {"text_format_source": {"inline_string": f"{AWAY}\n"}}
    return [
        {
            "filter": {"and_filter": {"filters": [away, api]}},
            "body_format_override": as_json,
            "headers_to_add": added,
        },
        {"filter": away, "body_format_override": as_text, "headers_to_add": added},
        {"filter": _status("GE", 100), "headers_to_add": added},
    ]


def _status(comparison: str, status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": f"front_door.own_answers_{status}"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _access_log() -> dict[str, Any]:
    return typed(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"text_format_source": {"inline_string": LOG_FORMAT}},
    )


def _patterns(names: tuple[str, ...]) -> dict[str, Any]:
    return {"patterns": [{"exact": name, "ignore_case": True} for name in names]}
