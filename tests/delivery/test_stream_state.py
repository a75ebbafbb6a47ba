"""Each event in each state of a stream, what is allowed in each state, and the page with the pictures of both."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import fields

import pytest

from service.delivery import stream_state
from service.delivery.stream_state import (
    AWAITING_HELLO,
    CANCELLED,
    COURSES,
    DRAINING,
    ENDING,
    HALF_CLOSED,
    LEAVING,
    OPEN,
    OPENING,
    PHASES,
    SERVING,
    Course,
    CourseEvent,
    IllegalTransition,
    Phase,
    PhaseEvent,
    StreamState,
)
from service.domain.errors import Internal, ShuttingDown, TokenExpired
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "streams.md").read_text()
# What leads to each state, and what each event leads to from there; an event that is left out is refused.
PATHS: dict[Phase, list[PhaseEvent]] = {
    AWAITING_HELLO: [],
    OPENING: [PhaseEvent.HELLO],
    OPEN: [PhaseEvent.HELLO, PhaseEvent.REFUSAL, PhaseEvent.HELLO, PhaseEvent.WELCOME],
    HALF_CLOSED: [PhaseEvent.HALF_CLOSE],
    DRAINING: [PhaseEvent.HELLO, PhaseEvent.WELCOME, PhaseEvent.HALF_CLOSE, PhaseEvent.ALL_ANSWERED],
}
NEXT_PHASES = {
    (AWAITING_HELLO, PhaseEvent.HELLO): OPENING,
    (AWAITING_HELLO, PhaseEvent.HALF_CLOSE): HALF_CLOSED,
    (OPENING, PhaseEvent.WELCOME): OPEN,
    (OPENING, PhaseEvent.REFUSAL): AWAITING_HELLO,
    (OPEN, PhaseEvent.HALF_CLOSE): HALF_CLOSED,
    (HALF_CLOSED, PhaseEvent.ALL_ANSWERED): DRAINING,
}
FIRST, LATER = TokenExpired(), ShuttingDown()
# For each course: whether a go_away, an end and a cancel are taken, where they lead, and the reason after an end.
COURSE_ROWS = [
    (SERVING, (LEAVING, True), (ENDING, LATER), None),
    (LEAVING, (LEAVING, False), (ENDING, LATER), None),
    (ENDING, (ENDING, False), (ENDING, FIRST), CANCELLED),
    (CANCELLED, (CANCELLED, False), (CANCELLED, FIRST), None),
]


def make_state(woken: list[int] | None = None) -> StreamState:
    return StreamState(lambda: woken.append(1) if woken is not None else None)


def in_phase(phase: Phase) -> StreamState:
    state = make_state()
    for event in PATHS[phase]:
        state.note(event)
    assert state.phase is phase
    return state


def in_course(course: Course, woken: list[int] | None = None) -> StreamState:
    state = make_state(woken)
    if course is LEAVING:
        state.go_away()
    if course in (ENDING, CANCELLED):
        state.end(FIRST)
    if course is CANCELLED:
        state.cancel()
    assert state.course is course
    return state


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(PATHS, PhaseEvent)), ids=lambda one: one.name)
def test_every_event_in_every_phase(phase: Phase, event: PhaseEvent) -> None:
    state = in_phase(phase)
    after = NEXT_PHASES.get((phase, event))
    if after is None:
        with pytest.raises(IllegalTransition, match=f"{event.name} in {phase.name}"):
            state.note(event)
    else:
        state.note(event)
    assert state.phase is (after or phase)
    assert state.course is SERVING  # the one machine does not move the other


@pytest.mark.parametrize(
    ("course", "after_go_away", "after_end", "after_cancel"), COURSE_ROWS, ids=[row[0].name for row in COURSE_ROWS]
)
def test_every_event_in_every_course(
    course: Course, after_go_away: tuple[Course, bool], after_end: tuple[Course, object], after_cancel: Course | None
) -> None:
    state = in_course(course)
    is_told = state.go_away()
    assert (state.course, is_told) == after_go_away
    woken: list[int] = []
    state = in_course(course, woken)
    before = len(woken)
    state.end(LATER)
    assert (state.course, state.reason) == after_end
    assert len(woken) == before + 1
    state = in_course(course)
    if after_cancel is None:
        with pytest.raises(IllegalTransition, match=f"CANCEL in {course.name}"):
            state.cancel()
    else:
        state.cancel()
    assert state.course is (after_cancel or course)
    assert state.phase is AWAITING_HELLO


@pytest.mark.parametrize("course", list(COURSES), ids=lambda course: course.name)
def test_reason_is_there_exactly_when_the_stream_is_to_end(course: Course) -> None:
    assert (in_course(course).reason is not None) == (not course.takes_requests)


def test_first_reason_to_end_counts_also_when_the_later_one_is_worse() -> None:
    state = make_state()
    state.end(FIRST)
    state.end(Internal("incident"))
    assert state.reason is FIRST


def test_tables_have_every_state_of_the_module() -> None:
    for table, kind in ((PHASES, Phase), (COURSES, Course)):
        assert set(table) == {one for one in vars(stream_state).values() if isinstance(one, kind)}


def _arrows(table: Mapping[Phase, Mapping[PhaseEvent, Phase]] | Mapping[Course, Mapping[CourseEvent, Course]]) -> set:
    return {
        (before.name, after.name, event.value)
        for before, row in table.items()
        for event, after in row.items()
        if after is not before
    }


@pytest.mark.parametrize(("nth", "table", "first"), [(1, PHASES, AWAITING_HELLO), (2, COURSES, SERVING)])
def test_picture_has_the_arrows_of_the_table_and_no_others(nth, table, first) -> None:
    picture = PAGE.split("```mermaid\nstateDiagram-v2\n")[nth].partition("```")[0]
    drawn = re.findall(r"^    (\w+) --> (\w+): (.+)$", picture, re.MULTILINE)
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == _arrows(table)
    assert re.findall(r"^    \[\*\] --> (\w+)$", picture, re.MULTILINE) == [first.name]


@pytest.mark.parametrize(("states", "kind"), [(PHASES, Phase), (COURSES, Course)])
def test_page_says_what_is_allowed_in_each_state(states, kind) -> None:
    names = [field.name for field in fields(kind) if field.name != "name"]
    header = "| state | " + " | ".join(f"`{name}`" for name in names) + " |\n"
    assert header in PAGE
    rows = PAGE.partition(header)[2].partition("\n\n")[0].splitlines()[1:]
    said = {cells[0]: [cell == "yes" for cell in cells[1:]] for cells in (row.strip("| ").split(" | ") for row in rows)}
    assert said == {state.name: [getattr(state, name) for name in names] for state in states}
