"""How many files a process may have open, which bounds its connections. Loads little: the supervisor has it, too."""

import contextlib
import os
import resource

# Nobody needs more, and some systems have no bound at all.
_MOST = 1 << 20
# Kept for what comes beside the pool and the lanes: Redis, conversations that stay locked, name lookups, files.
_SPARE = 32
# A server that takes nobody is of no use, whatever the limit.
_FEWEST_CONNECTIONS = 16
# What a worker has open when it serves nobody, beside its connections to PostgreSQL; 30 to 40 were counted.
_IDLE = 48


def raise_file_limit() -> None:
    """Raises the soft limit of this process, and of those that it starts, to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems have a lower bound that they do not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def get_file_limit() -> int:
    """Returns how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else soft


def to_needed_files(*, max_streams: int, database_connections: int) -> int:
    """Returns how many files a worker needs for as many streams, each on a connection of its own."""
    return max_streams + database_connections + _IDLE + _SPARE


def to_most_connections(database_connections: int) -> int:
    """Returns how many connections of clients this process may take, so that those to PostgreSQL and Redis find room.

    Args:
        database_connections: to PostgreSQL, those that are open included.
    """
    try:
        open_now = len(os.listdir("/dev/fd"))  # noqa: PTH208 # pathlib takes longer to load
    except OSError:
        open_now = _IDLE
    return max(get_file_limit() - open_now - database_connections - _SPARE, _FEWEST_CONNECTIONS)
