"""A process that has loaded what tests load besides the code under test, and forks for each mutant.

Half of a short test run is loading. The process is asked by lines on its standard input: a JSON list of the mutant
("FILE:NUMBER", "" for none), the limit in seconds, and the files of tests; it answers each by one line.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Plugins that are loaded before pytest starts are not rewritten; they have no assertions of tests.
_QUIET = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
_OPTIONS = (*_QUIET, "-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "tests.mutants.quick")


class Forks:
    """One such process; use it from one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.forks"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).with_name("site"))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, mutant: str, tests: Sequence[str], limit_seconds: float) -> str:
        """Runs tests up to the first that fails; returns "killed", "survived" or "timeout"."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([mutant, limit_seconds, *tests]), file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _serve() -> None:
    import argon2  # noqa: F401
    import asyncpg  # noqa: F401
    import hypothesis.strategies  # noqa: F401
    import jwt  # noqa: F401
    import pytest  # noqa: F401
    import redis.asyncio  # noqa: F401
    import structlog  # noqa: F401
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: F401

    for line in sys.stdin:
        mutant, limit_seconds, *tests = json.loads(line)
        process_id = os.fork()
        if process_id == 0:
            _run(mutant, tests)
        print(_wait(process_id, limit_seconds), flush=True)


def _run(mutant: str, tests: list[str]) -> None:
    """Runs tests in a child, and ends it."""
    status = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        if mutant:
            import sitecustomize

            os.environ["PARLEY_MUTANT"] = mutant  # for processes that the tests start
            sitecustomize.load_mutant(mutant)
        import pytest

        status = int(pytest.main([*_OPTIONS, *tests]))
    finally:
        os._exit(status)


def _wait(process_id: int, limit_seconds: float) -> str:
    deadline = time.monotonic() + limit_seconds
    status = None
    while status is None and time.monotonic() < deadline:
        ended, raw = os.waitpid(process_id, os.WNOHANG)
        if ended:
            status = raw
        else:
            time.sleep(0.02)
    for sign in (signal.SIGTERM, signal.SIGKILL):  # the tests, and what they started
        try:
            os.killpg(process_id, sign)
        except ProcessLookupError:
            break
        time.sleep(0.1 if status is not None else 2.0)
    if status is None:
        os.waitpid(process_id, 0)
        return "timeout"
    return "survived" if status == 0 else "killed"


if __name__ == "__main__":
    _serve()
