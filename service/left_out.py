"""What the processes that stay do without, though it is installed and a library would load it."""

import sys


def leave_out_rich() -> None:
    """Keeps rich out of this process; to be called before structlog is loaded.

    structlog loads it for tracebacks in colours, which no line has (`logs.py` makes text of them): 4 MB a process.
    """
    sys.modules["rich"] = None  # type: ignore[assignment] # as the import system has it: an import finds nothing
