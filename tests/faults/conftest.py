"""The seed of a run, its results as data, and the table in the end."""

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.run import HEADING, reports

_SEED = int(os.environ.get("FAULTS_SEED") or secrets.randbits(31))
# Where `make faults` wants the results, for `table.py`; nowhere by default.
_RESULTS = os.environ.get("FAULTS_RESULTS")


@pytest.fixture(autouse=True)
def write_results() -> Iterator[None]:
    """Writes all rows so far after each test, so that a run that is broken off leaves what it had."""
    yield
    if _RESULTS and reports:
        path = Path(_RESULTS) / f"{_SEED}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"seed": _SEED, "rows": [report.to_json() for report in reports]}), encoding="utf-8")


@pytest.fixture(scope="session")
def seed() -> int:
    """What all choices of a run hang on; `make faults SEED=...` repeats them."""
    return _SEED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints a row for each run."""
    if reports:
        terminalreporter.section(f"faults (make faults SEED={_SEED})")
        terminalreporter.write_line(HEADING)
        for report in reports:
            broken = f"  BROKEN: {', '.join(sorted(report.broken_rules))}" if report.violations else ""
            terminalreporter.write_line(f"{report}{broken}")
            for one in report.measured:
                limit = one.bound.value
                terminalreporter.write_line(f"    {limit.what}: {one.seconds:.2f} s of {limit.limit_seconds:g} s")
