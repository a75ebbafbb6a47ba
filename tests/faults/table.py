"""`python -m tests.faults.table build/faults/*.json`: the tables of docs/reliability.md, from runs of `make faults`.

Each number is the median of the runs; lost and doubled are the most of any run.
"""

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_COUNTS = ("acked", "lost", "doubled")
_TIMES = ("recovery", "silence", "latest")
# Runs with built-in faults, and their controls, are no rows of the table.
_MUTANTS = ("!", "=")


def main(paths: Sequence[str]) -> None:
    """Prints the tables of all runs that are named."""
    runs = [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
    print("\n".join(to_tables(runs)))


def to_tables(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the lines of both tables: what each fault cost, and how long what is bounded took."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        first: dict[str, dict[str, Any]] = {}  # a short fault comes again in the selection, which is not as thorough
        for row in run["rows"]:
            first.setdefault(row["name"], row)
        for name, row in first.items():
            if not name.startswith(_MUTANTS):
                rows[name].append(row)
    seeds = ", ".join(str(run["seed"]) for run in runs)
    lines = [f"Median of {len(runs)} {'run' if len(runs) == 1 else 'runs'}; seeds {seeds}.", ""]
    lines += _head("fault", *_COUNTS, *(f"{name}, s" for name in _TIMES))
    lines += [_to_row(name, found, len(runs)) for name, found in rows.items()]
    lines += ["", *_head("bound", "fault", "limit, s", "seen, s", "most, s"), *_bounds(rows), ""]
    lines += [f"- {line}" for name, found in rows.items() for line in _notes(name, found)]
    return lines


def _head(*names: str) -> list[str]:
    texts = 2 if names[1] == "fault" else 1
    return [f"| {' | '.join(names)} |", "|" + "---|" * texts + "---:|" * (len(names) - texts)]


def _to_row(name: str, found: list[dict[str, Any]], run_count: int) -> str:
    counts = [f"{statistics.median(row['acked'] for row in found):.0f}"]
    counts += [str(max(row[column] for row in found)) for column in ("lost", "doubled")]
    times = [_median(row[column] for row in found) for column in _TIMES]
    broken = sorted({rule for row in found for rule in row["broken"]})
    shown = name + (f" ({len(found)} of {run_count} runs)" if len(found) < run_count else "")
    return f"| {' | '.join((shown, *counts, *times))} |" + (f" BROKEN: {', '.join(broken)}" if broken else "")


def _bounds(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    seen: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for name, found in rows.items():
        for bound in (bound for row in found for bound in row["bounds"]):
            seen[bound["what"], name, bound["limit"]].append(bound["seen"])
    return [
        f"| {what} | {name} | {limit:g} | {statistics.median(times):.2f} | {max(times):.2f} |"
        for (what, name, limit), times in sorted(seen.items())
    ]


def _notes(name: str, found: list[dict[str, Any]]) -> list[str]:
    notes = (row["notes"] for row in found if row["notes"])
    return [f"{name}: " + ", ".join(f"{key} {value}" for key, value in one.items()) for one in notes]


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.2f}" if known else "-"


if __name__ == "__main__":
    main(sys.argv[1:])
