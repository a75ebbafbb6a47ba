"""Reports the server's state to systemd (`Type=notify`) by the socket that systemd names; without one it does nothing.

Source: sd_notify(3). Loads little.
"""

import contextlib
import os
import socket
import time


class Notifier:
    """Sends what systemd is to know; what can't be sent is left out: the server goes on."""

    def __init__(self) -> None:
        name = os.environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        # Half of what systemd waits for a sign of life, as it advises; 0: it does not.
        self._every_seconds = int(os.environ.get("WATCHDOG_USEC") or 0) / 2e6
        self._told_time = 0.0

    def send(self, *lines: str) -> None:
        """Sends assignments, such as READY=1, in one message."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)

    def reloading(self) -> None:
        """Says that the settings are read again; READY=1 ends that."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def tick(self, now: float) -> None:
        """Sends the watchdog's keep-alive when it is due; `now` is monotonic."""
        if self._every_seconds and now - self._told_time >= self._every_seconds:
            self._told_time = now
            self.send("WATCHDOG=1")
