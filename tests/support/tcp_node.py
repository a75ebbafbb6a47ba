"""A PostgreSQL that listens on a port of 127.0.0.1, as its pg_hba.conf says; this build has no TLS."""

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.cluster import Node


class TcpNode(Node):
    """One server; `postgres` is the superuser and has no password by its socket."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.port = unused.getsockname()[1]
        self.socket_name = f".s.PGSQL.{self.port}"
        self.options: list[str] = []

    def restart(self, hba: str, *options: str) -> None:
        """Starts it again with a line of pg_hba.conf for 127.0.0.1, and further `name=value` of its settings."""
        self.kill()
        (self.directory / "pg_hba.conf").write_text(f"local all all trust\n{hba}\n", encoding="utf-8")
        self.options = [part for option in options for part in ("-c", option)]
        self.start()

    def _command(self) -> list[str]:
        own = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"]
        return [*super()._command(), *own, *self.options]

    def _where(self) -> list[str]:
        return ["-h", self.host, "-p", str(self.port), "-U", "postgres"]


@contextlib.contextmanager
def running_tcp_node() -> Iterator[TcpNode]:
    """Starts one in a short directory; ends it and removes the directory afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="parley-tcp-"))
    node = TcpNode(directory)
    try:
        node.start()
        yield node
    finally:
        node.thaw()
        node.kill()
        shutil.rmtree(directory, ignore_errors=True)
