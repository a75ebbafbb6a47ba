"""Runners that lie, hang, leave out, add or end badly: none of them passes, and none holds up the suite."""

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from conformance import play as play_module
from conformance import runner as runner_module
from conformance.operator import Operator
from conformance.play import Play, StepFailed
from conformance.runner import Runner, RunnerFailed, started
from conformance.scenario import load_scenarios
from conformance.stage import Stage
from tests.support.proxy import open_proxy

# Answers each command by what is in `answers` for it, then does `last`.
_PROGRAM = """
import json, os, sys, time
answers = json.loads(sys.argv[1])
print(json.dumps({"runner": "none", "version": "0", "runtime": "none"}), flush=True)
for line in sys.stdin:
    answer = answers[json.loads(line)["do"]]
    if answer == "end":
        sys.exit(0)
    print(json.dumps(answer), flush=True)
exec(sys.argv[2])
"""
_HONEST: dict[str, Any] = {
    "open": {"opened": True},
    "write": {"written": True},
    "read": {"end": {"code": "OK"}},
    "close": {"closed": True},
    "cancel": {"cancelled": True},
}
_STEPS = """
about: a stream that ends
steps:
- open: Chat
- write: {correlation_id: 1, hello: {}}
- close: true
- end: OK
"""


@contextlib.asynccontextmanager
async def ran(last: str = "", **answers: Any) -> AsyncIterator[Runner]:
    """A runner that gives these answers, and the honest ones where none is said."""
    command = (sys.executable, "-c", _PROGRAM, json.dumps(_HONEST | answers), last)
    async with started(command, Path.cwd(), os.environ) as runner:
        yield runner


async def play(tmp_path: Path, **answers: Any) -> None:
    """Plays a short scenario on such a runner."""
    (tmp_path / "short.yaml").write_text(_STEPS)
    (scenario,) = load_scenarios(tmp_path)
    async with open_proxy("127.0.0.1:1") as proxy, ran(**answers) as runner:
        played = Play(runner, Operator(cast("Stage", None), proxy, proxy), {}, {})  # no step needs the stage
        try:
            await played.run(scenario)
        finally:
            await played.close()


async def test_an_honest_runner_passes(tmp_path: Path) -> None:
    await play(tmp_path)


@pytest.mark.parametrize(
    ("command", "answer", "step"),
    [
        ("open", {}, 1),
        ("open", [], 1),
        ("open", "end", 1),
        ("open", {"opened": "yes"}, 1),
        ("write", {"written": "no"}, 2),
        ("close", {}, 3),
        ("read", {}, 4),
        ("read", "end", 4),
        ("read", {"end": None}, 4),
        ("read", {"end": {"code": "INTERNAL"}}, 4),
        ("read", {"frame": []}, 4),
        ("read", {"nothing": False}, 4),
    ],
)
async def test_an_answer_that_is_none_fails_its_step(tmp_path: Path, command: str, answer: Any, step: int) -> None:
    with pytest.raises(StepFailed, match=rf"^step {step} "):
        await play(tmp_path, **{command: answer})


async def test_a_stream_that_never_ends_fails_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play_module, "_STEP_SECONDS", 0.5)
    with pytest.raises(StepFailed, match="not in time"):
        await play(tmp_path, read={"frame": {}})


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ("sys.exit(3)", "it ended with 3"),
        ("os.kill(os.getpid(), 9)", "it ended with -9"),
        ("print('{}')", "nobody had asked"),
        ("time.sleep(600)", "it did not end"),
    ],
)
async def test_a_runner_that_ends_otherwise_than_asked_fails(
    last: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_STOP_SECONDS", 3.0)
    with pytest.raises(RunnerFailed, match=why):
        async with ran(last) as runner:
            await runner.ask({"do": "open"})
