"""TCP keepalive of a connection, so that one whose other side is gone is found while it is idle."""

import socket

from storage.postgres.connections.connection import Connection
from storage.postgres.connections.target import Keepalive

_OPTIONS = {
    "idle_seconds": "TCP_KEEPIDLE",
    "interval_seconds": "TCP_KEEPINTVL",
    "count": "TCP_KEEPCNT",
    "user_timeout_ms": "TCP_USER_TIMEOUT",
}


def keep_alive(connection: Connection, wanted: Keepalive) -> None:
    """Sets up the socket of a connection; does nothing to a Unix socket, or where the system lacks an option."""
    found = connection.get_socket()
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(wanted.is_on))
    for name, option in _OPTIONS.items():
        value = getattr(wanted, name)
        if value is not None and hasattr(socket, option):
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
