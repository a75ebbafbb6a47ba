"""When a process that ended is started again."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from service.host.process_end import End
from service.host.restart_policy import RestartPolicy


class Failed(Exception):
    """A start that did not work."""


@dataclass
class Scripted:
    """A process whose end is written down."""

    end: str | None = None
    fails: bool = False
    is_planned: bool = False
    starts: list[float] = field(default_factory=list)
    now: float = 0.0

    def find_end(self) -> End | None:
        """How it ended, if it has."""
        return None if self.end is None else End(self.end, is_planned=self.is_planned)

    def start(self) -> None:
        """Runs from now on."""
        self.starts.append(self.now)
        if self.fails:
            raise Failed("no")
        self.end = None


def watch(process: Scripted) -> RestartPolicy:
    """A policy of a process that was started at 0."""
    return RestartPolicy(
        "it",
        find_end=lambda: process.end and End(process.end, is_planned=process.is_planned),
        start=process.start,
        failures=(Failed,),
        now=0.0,
    )


def run_to(policy: RestartPolicy, process: Scripted, end_time: float) -> None:
    """Ticks each 10 ms."""
    while process.now < end_time:
        process.now = round(process.now + 0.01, 2)
        policy.tick(process.now)


def test_a_process_that_runs_is_left_alone() -> None:
    process = Scripted()
    run_to(watch(process), process, 5.0)
    assert process.starts == []


def test_one_that_ended_is_started_after_a_tenth_of_a_second() -> None:
    process = Scripted(end="status 1")
    policy = watch(process)
    run_to(policy, process, 1.0)
    assert [round(start, 1) for start in process.starts] == [0.1]
    assert (policy.end_count, policy.restart_time) == (1, None)


def test_pauses_double_up_to_five_seconds_while_starts_fail() -> None:
    process = Scripted(end="status 1", fails=True)
    run_to(watch(process), process, 30.0)
    pauses = [round(later - earlier, 1) for earlier, later in pairwise(process.starts)]
    assert pauses[:7] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_one_that_ran_for_long_begins_with_the_first_pause_again() -> None:
    process = Scripted(end="status 1", fails=True)
    policy = watch(process)
    run_to(policy, process, 2.0)
    process.fails = False
    run_to(policy, process, 16.0)
    process.end = "status 1"
    began = process.now
    run_to(policy, process, 20.0)
    assert round(process.starts[-1] - began, 1) == 0.1


def test_one_that_asked_for_it_is_started_at_once_and_counted_apart() -> None:
    process = Scripted(end="it asked", is_planned=True)
    policy = watch(process)
    run_to(policy, process, 1.0)
    assert process.starts == [0.02]
    assert (policy.end_count, policy.planned_count, policy.last_end) == (0, 1, "")


def test_pauses_grow_for_one_that_starts_well_and_ends_soon_again() -> None:
    """A start that works is not enough to begin with the first pause again."""
    process = Scripted(end="status 1")
    policy = watch(process)
    while process.now < 40.0:
        run_to(policy, process, process.now + 0.01)
        if process.starts and process.end is None and process.now - process.starts[-1] >= 1.0:
            process.end = "status 1"
    pauses = [round(later - earlier - 1.0, 1) for earlier, later in pairwise(process.starts)]
    assert pauses[:7] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.parametrize(("ran_seconds", "pause_seconds"), [(9.9, 0.8), (10.1, 0.1)])
def test_ten_seconds_are_long_enough_to_begin_anew(ran_seconds: float, pause_seconds: float) -> None:
    process = Scripted(end="status 1", fails=True)
    policy = watch(process)
    run_to(policy, process, 0.5)
    process.fails = False
    run_to(policy, process, 1.0)
    assert process.end is None
    run_to(policy, process, process.starts[-1] + ran_seconds)
    process.end = "status 1"
    began = process.now
    run_to(policy, process, began + 3.0)
    assert round(process.starts[-1] - began, 1) == pause_seconds


def test_planned_end_is_no_error_in_the_log_and_leaves_the_pause_as_it_was() -> None:
    process = Scripted(end="it asked", is_planned=True)
    policy = watch(process)
    with capture_logs() as lines:
        run_to(policy, process, 1.0)
        process.end, process.is_planned = "status 1", False
        began = process.now
        run_to(policy, process, 2.0)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("process starts anew", "info"),
        ("process ended; starting it again", "error"),
    ]
    assert round(process.starts[-1] - began, 1) == 0.1
