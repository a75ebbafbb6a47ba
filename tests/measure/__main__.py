"""`python -m tests.measure [NAME...]`: runs these measurements, or all, and prints their figures."""

import sys

import uvloop

from tests.measure import bus, connect, hot, senders

MEASURES = {"bus": bus.measure, "connect": connect.measure, "hot": hot.measure, "senders": senders.measure}


def main() -> None:
    """Runs what the arguments name."""
    wanted = sys.argv[1:] or list(MEASURES)
    for name in wanted:
        print(f"# {name}", flush=True)
        uvloop.run(MEASURES[name]())


if __name__ == "__main__":
    main()
