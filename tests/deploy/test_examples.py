"""The examples in deploy/ name settings, methods and ports that exist, and times that fit each other.

Whether other people's programs take them is tested in tests/services/test_shipped_files.py.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from parley.v1 import chat_service_pb2

from service.settings.load import LEAVES, load
from service.settings.stop_times import find_delay_seconds, find_stop_seconds
from service.worker.health import READINESS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
KUBERNETES: list[Any] = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "parley.yaml").read_text()))
ENVOY: Any = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text())["static_resources"]
HAPROXY = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
UNIT = (DEPLOY / "systemd" / "parley.service").read_text()
METHODS = list(chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].methods)
FILES = [path for path in DEPLOY.rglob("*") if path.is_file()]
# The longest heartbeat that clients behind a proxy may ask for (docs/proxies-and-browsers.md).
HEARTBEAT_SECONDS = 30
SPARE_SECONDS = 5


def path_of(method: Any) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def seconds(text: str) -> float:
    assert text.endswith("s"), text
    return float(text[:-1])


def manager() -> Any:
    (chain,) = ENVOY["listeners"][0]["filter_chains"]
    return chain["filters"][0]["typed_config"]


def route_of(method: Any) -> Any:
    """The route that Envoy takes for a method: the first that matches."""
    (host,) = manager()["route_config"]["virtual_hosts"]
    path = path_of(method)
    for route in host["routes"]:
        match = route["match"]
        regex = match.get("safe_regex", {}).get("regex")
        if (regex and re.fullmatch(regex, path)) or path.startswith(match.get("prefix", "\n")):
            return route["route"]
    raise AssertionError(f"no route for {path}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_is_one_of_a_setting(path: Path) -> None:
    known = {leaf.variable for leaf in LEAVES.values()} | {"PARLEY_COMMIT"}
    assert set(re.findall(r"\bPARLEY_[A-Z][A-Z_]*[A-Z]\b", path.read_text())) <= known


def environments() -> dict[str, tuple[dict[str, str], float]]:
    """Who -> the variables that a server is given, and the seconds after which it is killed while it stops."""
    pod = KUBERNETES[2]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    of_pod = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    of_compose = COMPOSE["x-parley"]
    of_unit = dict(re.findall(r"(PARLEY_\w+)=(\S+)", re.search(r"^Environment=(.*)", UNIT, re.MULTILINE)[1]))  # type: ignore[index]
    until_killed = re.search(r"TimeoutStopSec=(\d+)", UNIT)[1]  # type: ignore[index]
    return {
        "kubernetes": (of_pod, pod["terminationGracePeriodSeconds"]),
        "compose": (of_compose["environment"], seconds(of_compose["stop_grace_period"])),
        "systemd": (of_unit | {"PARLEY_LISTEN": "0.0.0.0:50051"}, float(until_killed)),
    }


@pytest.mark.parametrize("who", ["kubernetes", "compose", "systemd"])
def test_nobody_kills_a_server_that_is_still_stopping(who: str) -> None:
    environment, killed_after_seconds = environments()[who]
    settings = load(environment=environment).settings
    assert killed_after_seconds >= find_stop_seconds(settings.shutdown, settings.listen) + SPARE_SECONDS


def test_balancers_leave_within_the_delay() -> None:
    environment, _ = environments()["compose"]
    settings = load(environment=environment).settings
    (check,) = ENVOY["clusters"][0]["health_checks"]
    _, inter, _, fall = re.search(r"check port (\d+) inter (\d+)s (fall (\d+))", HAPROXY).groups()  # type: ignore[union-attr]
    for looks, every in ((check["unhealthy_threshold"], seconds(check["interval"])), (int(fall), float(inter))):
        # Ready comes from a look at the database once a second; a call that is under way may be a look old.
        assert looks * every + every <= find_delay_seconds(settings.shutdown, settings.listen)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_envoy_ends_no_stream_and_gives_calls_the_deadline_of_their_client(method: Any) -> None:
    route = route_of(method)
    limits = route["max_stream_duration"]
    assert route["timeout"] == "0s"
    if method.server_streaming:
        assert limits == {"max_stream_duration": "0s"}
    else:
        assert seconds(limits["max_stream_duration"]) >= 20
        assert limits["grpc_timeout_header_max"] == limits["max_stream_duration"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_envoy_repeats_on_unavailable_what_has_no_second_effect(method: Any) -> None:
    harmless, _ = json.loads((ROOT / "clients" / "retry_policy.json").read_text())["methodConfig"]
    by_client = {name["method"] for name in harmless["name"]}
    (host,) = manager()["route_config"]["virtual_hosts"]
    policy = route_of(method).get("retry_policy", host["retry_policy"])
    causes = set(policy["retry_on"].split(","))
    assert {"connect-failure", "refused-stream"} <= causes
    if "unavailable" in causes:
        assert method.name in by_client
    else:
        assert causes == {"connect-failure", "refused-stream", "reset-before-request"}


def test_proxies_keep_a_stream_for_three_heartbeats() -> None:
    assert seconds(manager()["stream_idle_timeout"]) == 3 * HEARTBEAT_SECONDS
    assert re.findall(r"timeout (?:client|server) (\d+)s", HAPROXY) == [str(3 * HEARTBEAT_SECONDS)] * 2


def test_proxies_ask_whether_a_server_is_ready() -> None:
    (cluster,) = ENVOY["clusters"]
    (check,) = cluster["health_checks"]
    assert check["grpc_health_check"] == {"service_name": READINESS}
    assert "http-check connect proto h1\n    http-check send meth GET uri /readyz\n" in HAPROXY
    metrics_port = COMPOSE["x-parley"]["environment"]["PARLEY_METRICS_LISTEN"].rpartition(":")[2]
    assert f"check port {metrics_port} " in HAPROXY


def test_envoy_of_compose_finds_its_servers_and_files() -> None:
    (cluster,) = ENVOY["clusters"]
    (endpoints,) = cluster["load_assignment"]["endpoints"]
    hosts = [one["endpoint"]["address"]["socket_address"]["address"] for one in endpoints["lb_endpoints"]]
    assert hosts == [name for name in COMPOSE["services"] if name.startswith("parley-")]
    for source, _, _ in (volume.split(":") for volume in COMPOSE["services"]["envoy"]["volumes"]):
        assert (DEPLOY / "compose" / source).exists() or source == "./tls"


def test_kubernetes_probes_do_not_restart_for_the_database() -> None:
    (container,) = KUBERNETES[2]["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}


def test_unit_waits_for_word_that_the_server_is_ready() -> None:
    assert "Type=notify\n" in UNIT
    assert "ExecStart=/opt/parley/bin/parley serve\n" in UNIT
    assert "KillMode=mixed\n" in UNIT
