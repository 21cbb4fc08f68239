"""From routes to Envoy's configuration: pure functions; the documents are as Envoy's API describes them."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from blocks.gateway.envoy_listener import ACCESS_CLUSTER, ACCESS_HEADER, NOT_FRAMED, listener, typed
from blocks.gateway.front_door import FrontDoor
from blocks.gateway.routes import ACCESS_SOCKET, ADMIN_SOCKET, Route, ordered

ROUTES = "routes.yaml"
CLUSTERS = "clusters.yaml"

MOST_CONNECTIONS = 1000
"""Of all clients together. Beyond it a new connection is closed at once."""

_PAGE_POLICY = (
    "default-src {own}; script-src {own} 'unsafe-inline' 'unsafe-eval'; style-src {own} 'unsafe-inline'; "
    "img-src {own} data: blob:; font-src {own} data:; worker-src {own} blob:; object-src 'none'; base-uri {own}"
)
"""Pages load from and talk to their own alone. Prefect's and TensorBoard's write scripts inline."""

_TRUSTED = _PAGE_POLICY.format(own="'self'") + "; form-action 'self'; frame-ancestors 'none'"
_SANDBOX = "sandbox allow-scripts allow-same-origin allow-forms allow-downloads allow-modals"
"""What is confined opens no window: its script could reach into one of the same origin, which is not confined."""

_ANSWER_HEADERS = {
    "x-content-type-options": "nosniff",
    **NOT_FRAMED,
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_REMOVED_FROM_ANSWERS = ["access-control-allow-origin", "access-control-allow-credentials", "server"]


def bootstrap(front_door: FrontDoor) -> dict[str, Any]:
    """What Envoy starts with: where it listens, its limits, and where its routes and clusters are."""
    directory = front_door.directory
    files = directory / "envoy"
    return {
        "node": {"id": "front-door", "cluster": "makerflow"},
        "admin": {"address": {"pipe": {"path": str(directory / ADMIN_SOCKET), "mode": 0o600}}},
        "dynamic_resources": {"cds_config": _from_file(files / CLUSTERS)},
        "static_resources": {
            "listeners": [listener(front_door.host, front_door.port, _from_file(files / ROUTES))],
            "clusters": [cluster(ACCESS_CLUSTER, {"pipe": {"path": str(directory / ACCESS_SOCKET)}})],
        },
        "overload_manager": {
            "resource_monitors": [
                typed(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=MOST_CONNECTIONS,
                )
            ]
        },
    }


def route_resources(routes: Iterable[Route], hosts: Sequence[str]) -> dict[str, Any]:
    """The route table; whoever calls the front door by a name that is not in `hosts` gets 421."""
    return {
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "name": "front-door",
                "ignore_port_in_host_matching": True,
                "most_specific_header_mutations_wins": True,
                "max_direct_response_body_size_bytes": 4096,
                "virtual_hosts": [_ours(routes, hosts), *([] if "*" in hosts else [_others()])],
            }
        ]
    }


def cluster_resources(routes: Iterable[Route]) -> dict[str, Any]:
    """What answers on the routes."""
    kind = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    return {"resources": [{"@type": kind, **cluster(_cluster_name(route), _address(route))} for route in routes]}


def with_former(clusters: Mapping[str, Any], former: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """`clusters`, and those of `former` to which the route table in use leads."""
    hosts = [host for resource in table["resources"] for host in resource["virtual_hosts"]]
    used = {route["route"]["cluster"] for host in hosts for route in host["routes"] if "route" in route}
    present = {resource["name"] for resource in clusters["resources"]}
    kept = [resource for resource in former["resources"] if resource["name"] in used - present]
    return {"resources": [*clusters["resources"], *kept]}


def cluster(name: str, address: Mapping[str, Any]) -> dict[str, Any]:
    """One thing that answers."""
    return {
        "name": name,
        "connect_timeout": "2s",
        "type": "STATIC",
        "circuit_breakers": {
            "thresholds": [{"max_connections": 1024, "max_pending_requests": 1024, "max_retries": 1024}]
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": dict(address)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                # uvicorn closes what is idle for 5 s; a request sent meanwhile would be lost.
                "common_http_protocol_options": {"idle_timeout": "3s"},
            }
        },
    }


def to_text(document: Mapping[str, Any]) -> str:
    """The document as YAML, the same for the same document."""
    return yaml.safe_dump(dict(document), sort_keys=False, width=120)


def from_text(text: str) -> dict[str, Any]:
    """The document that `to_text` made this text of."""
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def _ours(routes: Iterable[Route], hosts: Sequence[str]) -> dict[str, Any]:
    return {
        "name": "ours",
        "domains": list(hosts),
        "routes": [_route(route) for route in ordered(routes)],
        "request_headers_to_remove": ["authorization", ACCESS_HEADER],  # they are for the front door
        "response_headers_to_add": [_header(name, value) for name, value in _ANSWER_HEADERS.items()],
        "response_headers_to_remove": _REMOVED_FROM_ANSWERS,
    }


def _others() -> dict[str, Any]:
    """Where a request ends whose Host is not ours, e.g. after a page elsewhere had its own name point here."""
    text = (
        "The front door is not known by this name. Use localhost; `makerflow up --host ADDRESS` serves others, and "
        "with MAKERFLOW_HOSTS=NAME it answers to the name of a proxy.\n"
    )
    return {
        "name": "others",
        "domains": ["*"],
        "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 421, "body": {"inline_string": text}}},
        ],
        "typed_per_filter_config": {
            "envoy.filters.http.ext_authz": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "disabled": True,
            }
        },
    }


def _route(route: Route) -> dict[str, Any]:
    action: dict[str, Any] = {
        "cluster": _cluster_name(route),
        "timeout": f"{route.timeout_seconds}s",
        "retry_policy": _retries(route),
    }
    if route.rewrite is not None:
        action["prefix_rewrite"] = route.rewrite
    if not route.timeout_seconds:
        action["idle_timeout"] = "0s"
    if route.websocket:
        action["upgrade_configs"] = [{"upgrade_type": "websocket", "enabled": True}]
    document: dict[str, Any] = {
        "name": route.name,
        "match": {"prefix": "/"} if route.prefix == "/" else {"path_separated_prefix": route.prefix},
        "route": action,
        "stat_prefix": route.name,
        "typed_per_filter_config": _access(route),
    }
    if headers := _page_headers(route):
        document["response_headers_to_add"] = headers
    return document


def _retries(route: Route) -> dict[str, Any]:
    """Only what has certainly not reached it, or has left nothing there, is sent again."""
    unreached = "connect-failure,reset-before-request"
    if not route.busy_retries:
        return {"retry_on": unreached, "num_retries": 2}
    return {
        "retry_on": f"{unreached},retriable-status-codes",
        "retriable_status_codes": [503],
        "num_retries": route.busy_retries,
        "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
    }


def _page_headers(route: Route) -> list[dict[str, Any]]:
    if route.confined:
        # Browsers refuse a sandbox together with another opener policy.
        return [_policy(_confinement(route.prefix)), _header("cross-origin-opener-policy", "unsafe-none")]
    return [_policy(_TRUSTED)] if route.page else []


def _confinement(prefix: str) -> str:
    """The policy of pages that may reach what is below their prefix alone.

    It names the address by which the page was asked for: a policy has no other way to say "here, below this path".
    TensorBoard frames its plugins; a frame is as free as its own answer says, so what others answer below the prefix,
    Envoy and the access service, must not be framed.
    """
    policy = _PAGE_POLICY.format(own=f"%REQ(:AUTHORITY)%{prefix}/")
    return f"{policy}; form-action 'none'; frame-ancestors 'self'; {_SANDBOX}"


def _policy(policy: str) -> dict[str, Any]:
    return _header("content-security-policy", policy, "APPEND_IF_EXISTS_OR_ADD")


def _access(route: Route) -> dict[str, Any]:
    """Say to the access service which level the route has; clients cannot, for what they say is overwritten."""
    mutation = {
        "append": {
            "header": {"key": ACCESS_HEADER, "value": route.access.value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    }
    return {
        "envoy.filters.http.header_mutation": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
            "mutations": {"request_mutations": [mutation]},
        }
    }


def _header(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _cluster_name(route: Route) -> str:
    """Another name for another address: a route swaps to what is there, while requests under way end where they are."""
    return f"{route.name}-{sha256(str(_address(route)).encode()).hexdigest()[:8]}"


def _address(route: Route) -> dict[str, Any]:
    if route.socket is not None:
        return {"pipe": {"path": str(route.socket)}}
    return {"socket_address": {"address": "127.0.0.1", "port_value": route.port}}


def _from_file(file: Path) -> dict[str, Any]:
    return {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
