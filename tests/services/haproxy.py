"""HAProxy with the configuration that is shipped (deploy/haproxy/haproxy.cfg); only addresses and files are others."""

import socket
from pathlib import Path

from tests.services.site import Daemon, Site, free_port
from tests.support.waiting import wait_until

SHIPPED = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
_MOST, _FEWER = "maxconn 50000", "maxconn 1000"  # as many files as any user may open
_BIND = "bind :50051 ssl crt /etc/haproxy/tls.pem alpn h2"


def configuration(nodes: list[tuple[str, int]], *, listen: str, socket: Path, certificate: Path | None = None) -> str:
    """The shipped configuration with other addresses.

    Args:
        nodes: host:port of the service, and the port of the metrics listener.
        socket: where it answers questions about itself.
        certificate: a file with certificate and key; None: without TLS.
    """
    text = SHIPPED.read_text(encoding="utf-8")
    bind = f"bind {listen} " + (f"ssl crt {certificate} alpn h2" if certificate else "proto h2")
    assert text.count(_BIND) == text.count(_MOST) == 1
    lines = text.replace(_BIND, bind).replace(_MOST, _FEWER).splitlines()
    servers = [line for line in lines if line.strip().startswith("server ")]
    assert len(servers) == len(nodes) == 2
    for line, (target, port) in zip(servers, nodes, strict=True):
        name = line.split()[1]
        lines[lines.index(line)] = f"    server {name} {target} port {port}"
    lines.insert(lines.index("global") + 1, f"    stats socket {socket}")
    return "\n".join([*lines, ""])


class HAProxy:
    """One proxy, in front of two nodes.

    Attributes:
        target: host:port for clients.
    """

    def __init__(self, site: Site, nodes: list[tuple[str, int]], *, certificate: Path | None = None) -> None:
        self._site = site
        self._daemon: Daemon | None = None
        self._socket = site.directory / "haproxy.sock"
        self.target = f"127.0.0.1:{free_port()}"
        text = configuration(nodes, listen=self.target, socket=self._socket, certificate=certificate)
        self.configuration = site.write("haproxy.cfg", text)

    def start(self) -> None:
        """Starts it and waits until both nodes are up."""
        self._daemon = self._site.spawn("haproxy", "haproxy", "-db", "-f", self.configuration)
        wait_until(lambda: self.states() == ["UP", "UP"], limit_seconds=20, what="two nodes that are up")

    def states(self) -> list[str]:
        """What it takes the nodes for, in order; none while it does not answer."""
        assert self._daemon is not None
        assert self._daemon.is_running, self._daemon.text
        if not self._socket.exists():
            return []
        return [row.split(",")[17] for row in self._ask("show stat").splitlines() if row.startswith("parley,parley-")]

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
