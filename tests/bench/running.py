"""`parley bench` as people run it: a process of its own, whose report, output and exit status are looked at."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.results import Report, Run

_LIMIT_SECONDS = 100


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended."""

    status: int
    output: str
    errors: str
    report_path: Path

    @property
    def run(self) -> Run:
        """The one run of the report."""
        (run,) = Report.read(self.report_path).runs
        return run

    @property
    def last_line(self) -> str:
        """What it said last on standard error."""
        return self.errors.strip().splitlines()[-1]


def begin(
    directory: Path,
    *arguments: str,
    prepare: Callable[[], None] | None = None,
    temporary_directory: Path | None = None,
) -> "subprocess.Popen[str]":
    """Begins a command that writes its report into a directory."""
    command = [sys.executable, "-m", "service", "bench", *arguments, "--json", str(directory / "report.json")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    if temporary_directory is not None:
        environment["TMPDIR"] = str(temporary_directory)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=prepare,
        start_new_session=True,
    )


def wait_for_line(process: "subprocess.Popen[str]", words: str) -> None:
    """Reads what a command says on standard error up to a line with these words."""
    assert process.stderr is not None
    line = ""
    while words not in line:
        line = process.stderr.readline()
        assert line, "it ended too early"


def wait(process: "subprocess.Popen[str]", directory: Path) -> Ended:
    """Waits for the end."""
    try:
        output, errors = process.communicate(timeout=_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ended(process.returncode, output, errors, directory / "report.json")


def bench(directory: Path, *arguments: str, prepare: Callable[[], None] | None = None) -> Ended:
    """Runs a command to its end."""
    return wait(begin(directory, *arguments, prepare=prepare), directory)
