"""The states of a stream, as tables in the manner of h11. Pure: no I/O, no clock, no tasks.

A stream has two machines side by side. `Phase` says how far the client has come: hello, open, half-closed. `Course`
says whether the server lets the stream go on. A state is an object whose attributes say what is allowed in it; the
tables say which event leads from where to where. docs/streams.md has the pictures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from service.domain.errors import ParleyError


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """How far the client has come.

    Attributes:
        takes_hello: a hello may come.
        takes_frames: any other frame of the client may come.
        is_written: what waits is written to the client.
        may_finish: the stream ends with OK as soon as nothing waits.
    """

    name: str
    takes_hello: bool = False
    takes_frames: bool = False
    is_written: bool = True
    may_finish: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Whether the server lets the stream go on.

    Attributes:
        takes_requests: a frame that was read takes effect.
        takes_deliveries: messages with manual acks are claimed for the stream.
        ends_when_answered: the stream ends as soon as all is answered and written.
    """

    name: str
    takes_requests: bool = True
    takes_deliveries: bool = False
    ends_when_answered: bool = False


# Nothing but a hello is expected; what is refused is written.
AWAITING_HELLO = Phase("awaiting_hello", takes_hello=True)
# The hello is carried out. Nothing is written, since the welcome must come first; the reader reads no frame meanwhile.
OPENING = Phase("opening", is_written=False)
OPEN = Phase("open", takes_frames=True)
# The client has half-closed; what it asked for is still answered.
HALF_CLOSED = Phase("half_closed")
# All is answered, and what the stream stored has come to it, or is in the outbox.
DRAINING = Phase("draining", may_finish=True)

SERVING = Course("serving", takes_deliveries=True)
# The client was told to leave by a go_away.
LEAVING = Course("leaving", ends_when_answered=True)
# There is a reason to end: nothing is read or written any more once the write under way is over.
ENDING = Course("ending", takes_requests=False)
# The write under way did not end, because the client does not read: the stream's task was cancelled.
CANCELLED = Course("cancelled", takes_requests=False)


class PhaseEvent(Enum):
    """What moves the phase."""

    HELLO = "hello"
    REFUSAL = "refusal"
    WELCOME = "welcome"
    HALF_CLOSE = "half-close"
    ALL_ANSWERED = "all answered"


class CourseEvent(Enum):
    """What moves the course."""

    GO_AWAY = "go away"
    END = "end"
    CANCEL = "cancel"


PHASES: Mapping[Phase, Mapping[PhaseEvent, Phase]] = {
    AWAITING_HELLO: {PhaseEvent.HELLO: OPENING, PhaseEvent.HALF_CLOSE: HALF_CLOSED},
    OPENING: {PhaseEvent.WELCOME: OPEN, PhaseEvent.REFUSAL: AWAITING_HELLO},
    OPEN: {PhaseEvent.HALF_CLOSE: HALF_CLOSED},
    HALF_CLOSED: {PhaseEvent.ALL_ANSWERED: DRAINING},
    DRAINING: {},
}
# Whoever ends a stream, or tells it to leave, does not know whether others did so before: the first one counts.
COURSES: Mapping[Course, Mapping[CourseEvent, Course]] = {
    SERVING: {CourseEvent.GO_AWAY: LEAVING, CourseEvent.END: ENDING},
    LEAVING: {CourseEvent.GO_AWAY: LEAVING, CourseEvent.END: ENDING},
    ENDING: {CourseEvent.GO_AWAY: ENDING, CourseEvent.END: ENDING, CourseEvent.CANCEL: CANCELLED},
    CANCELLED: {CourseEvent.GO_AWAY: CANCELLED, CourseEvent.END: CANCELLED},
}

_State = TypeVar("_State", Phase, Course)
_Event = TypeVar("_Event", PhaseEvent, CourseEvent)


class IllegalTransition(Exception):
    """The code lets something happen to a stream that can't happen in its state."""


class StreamState:
    """The state of one stream.

    Args:
        wake: called when there is a reason to end.

    Attributes:
        reason: why the stream is to end; None while there is no reason.
    """

    __slots__ = ("_wake", "course", "phase", "reason")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.phase = AWAITING_HELLO
        self.course = SERVING
        self.reason: ParleyError | None = None

    def note(self, event: PhaseEvent) -> None:
        """Notes what the client did, or what became of it.

        Raises:
            IllegalTransition: the event can't happen in this phase.
        """
        self.phase = _next(PHASES, self.phase, event)

    def go_away(self) -> bool:
        """Notes that the client is told to leave; False when it was, or when the stream ends anyway."""
        before, self.course = self.course, _next(COURSES, self.course, CourseEvent.GO_AWAY)
        return self.course is not before

    def end(self, reason: ParleyError) -> None:
        """Asks the stream to end; the first reason counts. Wakes the stream's writer."""
        self.course = _next(COURSES, self.course, CourseEvent.END)
        self.reason = self.reason or reason
        self._wake()

    def cancel(self) -> None:
        """Notes that the stream's task is cancelled, which happens once: what cleans up must not be disturbed.

        Raises:
            IllegalTransition: nobody asked for the end, or the task was cancelled.
        """
        self.course = _next(COURSES, self.course, CourseEvent.CANCEL)


def _next(table: Mapping[_State, Mapping[_Event, _State]], state: _State, event: _Event) -> _State:
    try:
        return table[state][event]
    except KeyError:
        raise IllegalTransition(f"{event.name} in {state.name}") from None
