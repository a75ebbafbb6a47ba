"""The times of a shutdown: how long a server serves on after SIGTERM, and how long its end takes at most."""

from service.settings.host_port import is_loopback, split_listen
from service.settings.tree import ShutdownSettings

# The default of `shutdown.delay_seconds` where other machines reach the server: balancers look every few seconds, and
# `docker stop` kills after 10 s.
_REACHED_DELAY_SECONDS = 5.0
# Time to store accepted messages and to close connections, after the last call.
_CLOSING_SECONDS = 4.0


def find_delay_seconds(shutdown: ShutdownSettings, listen: str) -> float:
    """Returns how long a server on this address serves on after SIGTERM."""
    if shutdown.delay_seconds is not None:
        return shutdown.delay_seconds
    return 0.0 if is_loopback(split_listen(listen)[0]) else _REACHED_DELAY_SECONDS


def find_stop_seconds(shutdown: ShutdownSettings, listen: str) -> float:
    """Returns how long a worker's end takes at most, after SIGTERM: the delay, the end of calls, and storing."""
    return find_delay_seconds(shutdown, listen) + shutdown.drain_seconds + _CLOSING_SECONDS
