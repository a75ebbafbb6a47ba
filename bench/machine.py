"""What this machine is, as a report names it."""

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

_CPU_INFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, str]:
    """Returns what `Report.machine` holds, all as text.

    "cores" are those that this process may run on, which a container can make fewer than there are.
    """
    return {
        "cores": str(_count_cores()),
        "memory_bytes": str(psutil.virtual_memory().total),
        "processor": _name_processor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "parley": metadata.version("parley-server"),
    }


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _name_processor() -> str:
    """The model as Linux names it; elsewhere, and where it names none, the architecture."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, names), platform.processor() or platform.machine())
