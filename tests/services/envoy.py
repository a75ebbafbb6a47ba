"""Envoy with the configuration that is shipped (deploy/envoy/envoy.yaml); only addresses and files are other ones."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import yaml

from tests.services.site import Daemon, Site, free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "build" / "services" / "envoy" / "_bin" / "envoy"
SHIPPED = ROOT / "deploy" / "envoy" / "envoy.yaml"


def configuration(
    nodes: list[str],
    *,
    listen: str,
    admin: str,
    certificate: tuple[Path, Path] | None = None,
    allowed_origins: tuple[str, ...] = (),
) -> Any:
    """The shipped configuration with other addresses, host:port or unix:path each.

    Args:
        certificate: the files of certificate and key; None: without TLS.
        allowed_origins: the sites whose pages may call.
    """
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    document["admin"]["address"] = _address(admin)
    resources = document["static_resources"]
    (listener,), (cluster,) = resources["listeners"], resources["clusters"]
    listener["address"] = _address(listen)
    (chain,) = listener["filter_chains"]
    if certificate is None:
        del chain["transport_socket"]
    else:
        (files,) = chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"]
        files["certificate_chain"]["filename"], files["private_key"]["filename"] = map(str, certificate)
    (host,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    policy = host["typed_per_filter_config"]["envoy.filters.http.cors"]
    policy["allow_origin_string_match"] = [{"exact": origin} for origin in allowed_origins]
    (endpoints,) = cluster["load_assignment"]["endpoints"]
    endpoints["lb_endpoints"] = [{"endpoint": {"address": _address(node)}} for node in nodes]
    return document


class Envoy:
    """One proxy, in front of nodes.

    Attributes:
        target: where clients connect to: host:port, or a Unix socket where it is in a network of its own.

    Args:
        options: further ones of `configuration`.
    """

    def __init__(self, site: Site, nodes: list[str], *, namespace: str = "", **options: Any) -> None:
        self._site = site
        self._namespace = namespace
        self._daemon: Daemon | None = None
        self._admin = site.directory / "envoy-admin.sock"
        self.target = f"unix:{site.directory}/envoy.sock" if namespace else f"127.0.0.1:{free_port()}"
        document = configuration(nodes, listen=self.target, admin=f"unix:{self._admin}", **options)
        self.configuration = site.write("envoy.yaml", yaml.safe_dump(document))

    def start(self, *, healthy_count: int) -> None:
        """Starts it and waits until so many nodes are healthy."""
        options = ("-c", self.configuration, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
        self._daemon = self._site.spawn("envoy", PROGRAM, *options, namespace=self._namespace)
        wait_until(lambda: self.healthy_count == healthy_count, limit_seconds=30, what=f"{healthy_count} healthy nodes")

    @property
    def healthy_count(self) -> int:
        """How many nodes get calls; -1 while it does not answer."""
        return self.statistics("cluster.parley.membership_healthy").get("cluster.parley.membership_healthy", -1)

    def statistics(self, pattern: str) -> dict[str, int]:
        """Its counters and gauges whose names match, as its admin page tells them; none while it does not answer."""
        assert self._daemon is not None
        assert self._daemon.is_running, self._daemon.text
        connection = _UnixConnection(self._admin)
        try:
            connection.request("GET", f"/stats?format=json&filter={pattern}")
            stats = json.loads(connection.getresponse().read())["stats"]
        except OSError:
            return {}
        finally:
            connection.close()
        return {stat["name"]: stat["value"] for stat in stats if "name" in stat}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _address(target: str) -> dict[str, Any]:
    if target.startswith("unix:"):
        return {"pipe": {"path": target.removeprefix("unix:")}}
    host, port = target.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}
