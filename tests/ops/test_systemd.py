"""What systemd is told of a server with `Type=notify`."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

from tests.support.servers import RunningServer


def test_systemd_is_told_of_start_reload_life_and_stop(directory: Path, start: Callable[..., RunningServer]) -> None:
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(20)

        def hear(word: str) -> str:
            while word not in (message := systemd.recv(4096).decode()):
                pass
            return message

        server = start(settings={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"})
        hear("READY=1")
        hear("WATCHDOG=1")
        server.process.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in hear("RELOADING=1")
        hear("READY=1")
        server.process.send_signal(signal.SIGTERM)
        hear("STOPPING=1")
        assert server.process.wait(20) == 0
