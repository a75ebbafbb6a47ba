"""CPU time of the server's processes and of PostgreSQL, from /proc. On other systems there is nothing to read."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_STORES = ("postgres", "valkey", "redis")


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    """Time used so far, of living processes and of those that they saw end."""

    server: float
    postgres: float
    redis: float
    client: float

    def since(self, start: "CpuSeconds") -> "CpuSeconds":
        """Returns what was used since an earlier reading."""
        return CpuSeconds(
            self.server - start.server,
            self.postgres - start.postgres,
            self.redis - start.redis,
            self.client - start.client,
        )


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    name: str
    seconds: float


def read_cpu_seconds(server_pid: int | None, data_dir: Path | None) -> CpuSeconds | None:
    """Returns the CPU time used so far; None without a pid or without /proc.

    Args:
        server_pid: the supervisor's; its children count with it, but for the databases among them.
        data_dir: the server's; embedded databases run in it, whoever their parent is.
    """
    if server_pid is None or not _PROC.is_dir():
        return None
    processes = {process.pid: process for process in _read_processes()}
    groups: dict[str, list[_Process]] = {"server": [], "postgres": [], "redis": []}
    for process in processes.values():
        group = _group_of(process, processes, server_pid, data_dir)
        if group is not None:
            groups[group].append(process)
    totals = {name: sum(process.seconds for process in members) for name, members in groups.items()}
    own = os.times()
    return CpuSeconds(totals["server"], totals["postgres"], totals["redis"], own.user + own.system)


def _read_processes() -> Iterable[_Process]:
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended meanwhile.
        # The name is in parentheses and may hold anything; the numbers come after the last one.
        name, _, rest = stat.partition("(")[2].rpartition(")")
        fields = rest.split()
        seconds = sum(int(value) for value in fields[11:15]) / _TICKS_A_SECOND  # utime stime cutime cstime
        yield _Process(int(entry.name), int(fields[1]), name, seconds)


def _group_of(process: _Process, processes: dict[int, _Process], server_pid: int, data_dir: Path | None) -> str | None:
    """Returns which of the three a process counts for; None for strangers."""
    store: _Process | None = None
    at: _Process | None = process
    while at is not None and at.pid != server_pid:
        if at.name.startswith(_STORES):
            store = at
        at = processes.get(at.parent)
    if store is None:
        return "server" if at is not None else None
    if at is None and (data_dir is None or not _works_in(store.pid, data_dir)):
        return None
    return "postgres" if store.name.startswith("postgres") else "redis"


def _works_in(pid: int, directory: Path) -> bool:
    try:
        place = (_PROC / str(pid) / "cwd").readlink()
    except OSError:
        return False  # It ended, or it is somebody else's.
    return place.is_relative_to(directory.resolve())
