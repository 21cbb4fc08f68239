from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from blocks.domain.errors import InvalidInputError
from blocks.gateway.envoy import bootstrap, cluster_resources, route_resources, to_text
from blocks.gateway.files import write_front_door, write_routes
from blocks.gateway.front_door import FrontDoor, own_hosts
from blocks.gateway.routes import Access, Route, ordered, platform_routes

UP = Path("/home/ann/.makerflow/up")
BOARD = Route(name="board-exp-1", prefix="/tensorboard/exp-1", socket=UP / "b-1.sock", page=True, confined=True)


def test_the_platforms_routes_are_tried_from_the_longest_to_the_shortest() -> None:
    found = [(route.prefix, route.access.value) for route in ordered([*platform_routes(UP), BOARD])]
    assert found == [
        ("/tensorboard/exp-1", "token"),
        ("/tensorboard", "token"),
        ("/api/health", "account"),
        ("/dashboards", "token"),
        ("/front-door", "open"),
        ("/api", "account"),
        ("/", "account"),
    ]


def test_a_route_becomes_what_envoy_calls_one() -> None:
    route = Route(name="model", prefix="/serve/a", port=8000, access=Access.OPEN, rewrite="/v1", timeout_seconds=5)
    [host, _] = route_resources([route], ["localhost"])["resources"][0]["virtual_hosts"]
    [document] = host["routes"]
    [cluster] = cluster_resources([route])["resources"]
    assert document == {
        "name": "model",
        "match": {"path_separated_prefix": "/serve/a"},
        "route": {
            "cluster": cluster["name"],
            "timeout": "5.0s",
            "retry_policy": {"retry_on": "connect-failure,reset-before-request", "num_retries": 2},
            "prefix_rewrite": "/v1",
        },
        "stat_prefix": "model",
        "typed_per_filter_config": {
            "envoy.filters.http.header_mutation": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
                "mutations": {
                    "request_mutations": [
                        {
                            "append": {
                                "header": {"key": "x-makerflow-access", "value": "open"},
                                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                            }
                        }
                    ]
                },
            }
        },
    }
    [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 8000}}


def policies(route: Route) -> dict[str, str]:
    """The directives of the policy of a route's answers."""
    [host, _] = route_resources([route], ["localhost"])["resources"][0]["virtual_hosts"]
    [document] = host["routes"]
    headers = [entry["header"] for entry in document["response_headers_to_add"]]
    [policy] = [header["value"] for header in headers if header["key"] == "content-security-policy"]
    return dict(directive.strip().split(" ", 1) for directive in policy.split(";"))


def test_a_page_of_what_users_made_may_reach_what_is_below_its_prefix_alone() -> None:
    found = policies(BOARD)
    own = "%REQ(:AUTHORITY)%/tensorboard/exp-1/"
    for name in ("default-src", "script-src", "img-src", "base-uri"):
        assert own in found[name].split()
    assert "'self'" not in " ".join(found[name] for name in found if name != "frame-ancestors")
    assert found["form-action"] == "'none'"
    assert "allow-popups" not in found["sandbox"]
    assert "sandbox" not in policies(Route(name="ui", prefix="/", port=1, page=True))


def test_streams_have_no_end_and_websockets_no_body() -> None:
    [host, _] = route_resources(platform_routes(UP), ["localhost"])["resources"][0]["virtual_hosts"]
    api = next(route for route in host["routes"] if route["name"] == "api")["route"]
    assert (api["timeout"], api["idle_timeout"]) == ("0.0s", "0s")
    assert api["upgrade_configs"] == [{"upgrade_type": "websocket", "enabled": True}]


def test_every_limit_is_in_the_listener() -> None:
    door = FrontDoor(directory=UP, port=4300, token=SecretStr("t" * 20), boards=UP)
    document = bootstrap(door)
    [listener] = document["static_resources"]["listeners"]
    [chain] = listener["filter_chains"]
    settings = chain["filters"][0]["typed_config"]
    assert listener["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 4300}}
    assert settings["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert [entry["name"].rpartition(".")[2] for entry in settings["http_filters"]] == [
        "header_mutation",
        "ext_authz",
        "buffer",
        "router",
    ]
    assert settings["http_filters"][1]["typed_config"]["failure_mode_allow"] is False
    assert document["admin"]["address"]["pipe"] == {"path": str(UP / "admin.sock"), "mode": 0o600}
    assert "overload_manager" in document
    assert yaml.safe_load(to_text(document)) == document
    assert door.token.get_secret_value() not in to_text(document)


def test_files_are_written_by_rename_for_their_owner_alone(tmp_path: Path) -> None:
    door = FrontDoor(
        directory=tmp_path, port=1, token=SecretStr("t" * 20), access_string=SecretStr("a:b"), boards=tmp_path
    )
    write_front_door(door)
    files = [
        tmp_path / "front-door.json",
        *(tmp_path / "envoy" / f"{n}.yaml" for n in ("bootstrap", "routes", "clusters")),
    ]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    before = files[2].stat().st_ino
    write_routes(door, [BOARD])
    assert files[2].stat().st_ino != before
    assert "board-exp-1" in files[2].read_text()
    write_routes(door, [])
    assert "board-exp-1" not in files[2].read_text()
    assert "board-exp-1" in files[3].read_text()  # requests may be on the way to it
    write_routes(door, [])
    assert "board-exp-1" not in files[3].read_text()
    assert FrontDoor.load(tmp_path) == door
    assert len(list(tmp_path.rglob("*"))) == 5


@pytest.mark.parametrize("left", ["", "resources:\n- name: x", "a: [", "\0" * 100])
def test_a_front_door_starts_whatever_a_power_cut_has_left_of_the_files_before(tmp_path: Path, left: str) -> None:
    door = FrontDoor(directory=tmp_path, port=1, token=SecretStr("t" * 20), boards=tmp_path)
    write_front_door(door)
    files = [*(tmp_path / "envoy").iterdir(), tmp_path / "front-door.json"]
    whole = [file.read_bytes() for file in files]
    for file in files:
        file.write_text(left)
    write_front_door(door)
    assert [file.read_bytes() for file in files] == whole


@pytest.mark.parametrize("content", [None, "{", '{"port": 1}', "[]"])
def test_settings_that_are_not_there_or_damaged_are_named(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "front-door.json").write_text(content)
    with pytest.raises(InvalidInputError, match=r"front-door\.json"):
        FrontDoor.load(tmp_path)


@pytest.mark.parametrize("prefix", ["", "x", "/x/", "/x//y", "/x?y", "/x y", "/%2f"])
def test_a_prefix_of_two_meanings_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError):
        Route(name="r", prefix=prefix, port=1)


def test_a_route_has_one_thing_that_answers() -> None:
    for upstream in ({}, {"port": 1, "socket": UP / "a.sock"}):
        with pytest.raises(ValidationError, match="one of them"):
            Route(name="r", prefix="/x", **upstream)


def test_the_names_of_a_front_door_are_this_machines_and_what_it_listens_on() -> None:
    assert own_hosts("127.0.0.1") == ("localhost", "127.0.0.1", "[::1]")
    assert own_hosts("192.0.2.7")[-1] == "192.0.2.7"
    assert own_hosts("2001:db8::1")[-1] == "[2001:db8::1]"
    assert own_hosts("127.0.0.1", ["gpu:8443", "[2001:db8::1]:80"])[3:] == ("gpu", "[2001:db8::1]")
    everywhere = own_hosts("::")
    assert {"localhost", "127.0.0.1"} <= set(everywhere)
    assert {"*", "[::]"}.isdisjoint(everywhere)
