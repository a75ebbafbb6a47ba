"""The seed of a run, and the table in the end."""

import os
import secrets

import pytest

from tests.faults.run import HEADING, reports

_SEED = int(os.environ.get("FAULTS_SEED") or secrets.randbits(31))


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
