"""Numbers and names as people read them: the same words in tables, pictures, pages and comparisons."""

from collections.abc import Mapping

# Of `Report.limits`: what each is, and its unit.
_LIMITS = {
    "group_commit_per_second": ("group commit, the best", "rows/s"),
    "group_commit_batch": ("... at", "rows a commit"),
    "group_commit_connections": ("... over", "connections"),
    "group_commit_postgresql_us": ("... PostgreSQL's CPU", "us a row"),
    "group_commit_20_per_second": ("group commit, 20 rows", "rows/s"),
    "group_commit_160_per_second": ("group commit, 160 rows", "rows/s"),
    "group_commit_1000_per_second": ("group commit, 1,000 rows", "rows/s"),
    "stream_echo_per_second": ("stream echo, 1 message a frame", "messages/s"),
    "stream_echo_server_us": ("... the server's CPU", "us a message"),
    "stream_echo_20_per_second": ("stream echo, 20 messages a frame", "messages/s"),
    "stream_echo_20_server_us": ("... the server's CPU", "us a message"),
    "publish_per_second": ("Redis PUBLISH, 100 a pipeline", "messages/s"),
    "publish_single_per_second": ("Redis PUBLISH, one at a time", "messages/s"),
    "fsync_per_second": ("8 KiB write + fdatasync, in place", "a second"),
    "fsync_p99_ms": ("... 99 of 100 within", "ms"),
    "fsync_max_ms": ("... the longest", "ms"),
    "fsync_append_per_second": ("8 KiB write + fdatasync, appended", "a second"),
}

_MACHINE = {
    "cores": "cores",
    "memory_bytes": "memory",
    "processor": "processor",
    "kernel": "kernel",
    "python": "Python",
    "parley": "Parley",
}


def in_digits(value: float) -> str:
    """A number with about three digits: 71,034; 340; 12.3; 0.42."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def in_bytes(count: float) -> str:
    """A size in KiB, MiB or GiB."""
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2)):
        if abs(count) >= size:
            return f"{in_digits(count / size)} {unit}"
    return f"{in_digits(count / 1024)} KiB"


def describe_limits(limits: Mapping[str, float]) -> list[tuple[str, str]]:
    """Pairs of what a limit is and its value, in the order in which they are best read; unknown ones come last."""
    known = [(words, f"{in_digits(limits[name])} {unit}") for name, (words, unit) in _LIMITS.items() if name in limits]
    return known + [(name, in_digits(value)) for name, value in limits.items() if name not in _LIMITS]


def describe_machine_of(machine: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of what a part of `Report.machine` is and its value."""
    return [
        (_MACHINE.get(name, name), in_bytes(int(value)) if name == "memory_bytes" and value.isdecimal() else value)
        for name, value in machine.items()
    ]
