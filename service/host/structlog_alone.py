"""Loads structlog without rich, which it takes along where that is installed.

It is for tracebacks in colours, which no line has (`logs.py` makes text of them): 4 MB a process, and a tenth of a
second of each start.
"""

import sys


def load_structlog() -> None:
    """Loads it; to be called before anything else does. Whoever imports rich later gets it."""
    sys.modules["rich"] = None  # type: ignore[assignment] # as the import system has it: there is none
    try:
        import structlog  # noqa: F401 # for those who come after
    finally:
        del sys.modules["rich"]
