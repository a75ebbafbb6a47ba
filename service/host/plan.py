"""What the supervisor has to know of the settings before it starts anything. Loads nothing of ours."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """What the supervisor has to know of the settings.

    Attributes:
        data_dir: as the settings have it.
        listen: as the settings have it: its port may be 0.
        metrics_listen: likewise; "" where metrics are off.
        workers: how many workers there are.
        stop_seconds: how long processes may take for their end after SIGTERM.
        needed_files: how many files a worker may have to open.
        needs_postgres: whether to start an embedded PostgreSQL.
        needs_valkey: whether to start an embedded Valkey.
    """

    data_dir: str
    listen: str
    metrics_listen: str
    workers: int
    log_level: str
    log_format: str
    stop_seconds: float
    needed_files: int
    needs_postgres: bool
    needs_valkey: bool
