"""Takes what libraries write to standard error as plain lines, gRPC's core above all, into the log's one format."""

import atexit
import os
import re
import sys
import threading
from typing import TextIO

import structlog

# As Abseil writes them: level, date and time, thread, place, text.
_ABSEIL = re.compile(r"([IWEF])\d{4,8} [\d:.]+ +\d+ ([\w./-]+:\d+)\] (.*)", re.DOTALL)
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}
_END_SECONDS = 1.0


def take_over_stderr() -> TextIO:
    """Returns standard error as it was, for the log, and reads from now on what others write to descriptor 2.

    Each of their lines becomes an event with `source`: the file and line of gRPC's core, else "stderr". At the end of
    the process the descriptor is what it was. Call it once, before the log is set up and before gRPC is loaded.
    """
    kept = os.dup(2)
    read_end, write_end = os.pipe()
    os.dup2(write_end, 2)
    os.close(write_end)
    reader = threading.Thread(target=_read, args=(read_end,), name="standard error", daemon=True)

    def give_back() -> None:
        sys.stderr.flush()
        os.dup2(kept, 2)  # the last writer of the pipe: its reader comes to the end
        reader.join(_END_SECONDS)

    atexit.register(give_back)
    reader.start()
    return os.fdopen(os.dup(kept), "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def _read(descriptor: int) -> None:
    log = structlog.get_logger(__name__)
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():
                continue
            found = _ABSEIL.fullmatch(line.rstrip("\n"))
            if found is None:
                log.warning(line.rstrip("\n"), source="stderr")
            else:
                getattr(log, _LEVELS[found[1]])(found[3], source=found[2])
