"""Plays plans on a stage: files side by side, each line in its turn. What it leaves is judged in verdict.py."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from parley.v1 import message_pb2

from bench.replay.entries import STYLE
from bench.replay.plan import Join, Leave, Say
from bench.replay.speakers import LOOKAHEAD_STEPS
from bench.replay.stage import Group, Stage
from bench.replay.stream import DeviceStream, Refused

_ANSWER_SECONDS = 180.0
"""Long enough for a server that loses a process, and lets hundreds of devices catch up."""
_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0)
"""Between attempts of a send that the server had no room for."""
_QUIET_SECONDS = 20.0
"""When nothing new has come for so long, what is still due is missing."""

Answer = asyncio.Future[message_pb2.Accepted]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast.

    Attributes:
        unordered: send without waiting for answers.
        in_flight: how many such sends may wait for their answers, over all files.
        speed: how much faster than the log's clock; 0: without its clock.
        rate: messages a second at most, over all files; 0: without a limit.
    """

    unordered: bool = False
    in_flight: int = 1000
    speed: float = 0.0
    rate: float = 0.0


@dataclass(slots=True)
class Timings:
    """When messages were sent, and how long they took to the listening devices, in seconds."""

    sent_at: dict[tuple[str, str], float] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)

    def note_arrival(self, message: message_pb2.Message) -> None:
        """Notes that a listening device received an entry."""
        sent_at = self.sent_at.get((message.conversation_id, message.request_id))
        if sent_at is not None:
            self.delays.append(time.monotonic() - sent_at)


class Runner:
    """Plays once. `tick` is called when a step of a file is done."""

    def __init__(self, stage: Stage, pace: Pace, timings: Timings, tick: Callable[[], None]) -> None:
        self._stage = stage
        self._pace = pace
        self._timings = timings
        self._tick = tick
        self._room = asyncio.Semaphore(pace.in_flight)
        self._next_send = 0.0

    async def play(self) -> float:
        """Plays all files and returns how many seconds it took until the last answer."""
        started = self._next_send = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for group in self._stage.groups:
                tasks.create_task(self._play_unordered(group) if self._pace.unordered else self._play_ordered(group))
        return time.monotonic() - started

    async def _play_ordered(self, group: Group) -> None:
        started = time.monotonic()
        for index, step in enumerate(group.plan.steps):
            self._look_ahead(group, index)
            await self._wait_for_the_clock(group, step.minute, started)
            match step:
                case Say():
                    await self._wait_for_the_rate()
                    stream = await self._stage.speakers.get(step.sender)
                    await self._take(group, step, stream, self._submit(group, step, stream))
                case Join():
                    await self._stage.calls.add(group.conversation_id, [step.username])
                case Leave():
                    await self._stage.calls.remove(group.conversation_id, step.username, actor=step.actor)
            self._tick()

    async def _play_unordered(self, group: Group) -> None:
        started = time.monotonic()
        async with asyncio.TaskGroup() as answers:
            for index, step in enumerate(group.plan.steps):
                self._look_ahead(group, index)
                if not isinstance(step, Say):
                    raise TypeError("an unordered plan has no changes")
                await self._wait_for_the_clock(group, step.minute, started)
                await self._wait_for_the_rate()
                await self._room.acquire()
                stream = await self._stage.speakers.get(step.sender)
                answer = self._submit(group, step, stream)
                answers.create_task(self._take_in_room(group, step, stream, answer))

    def _look_ahead(self, group: Group, index: int) -> None:
        first = index + LOOKAHEAD_STEPS if index else 0
        self._stage.speakers.expect(group.plan.steps[first : index + LOOKAHEAD_STEPS + 1])

    async def _wait_for_the_clock(self, group: Group, minute: int, started: float) -> None:
        if self._pace.speed > 0:
            due = started + (minute - group.plan.steps[0].minute) * 60 / self._pace.speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _wait_for_the_rate(self) -> None:
        if self._pace.rate > 0:
            turn = max(self._next_send, time.monotonic() - 0.1)  # what was missed is not made up for in one go
            self._next_send = turn + 1 / self._pace.rate
            await asyncio.sleep(max(0.0, turn - time.monotonic()))

    def _submit(self, group: Group, say: Say, stream: DeviceStream) -> Answer:
        request = message_pb2.SendRequest(
            conversation_id=group.conversation_id,
            text=say.text,
            request_id=say.request_id,
            attributes={STYLE: say.kind},
        )
        self._timings.sent_at.setdefault((group.conversation_id, say.request_id), time.monotonic())
        return stream.submit(request)

    async def _take_in_room(self, group: Group, say: Say, stream: DeviceStream, answer: Answer) -> None:
        try:
            await self._take(group, say, stream, answer)
        finally:
            self._room.release()
        self._tick()

    async def _take(self, group: Group, say: Say, stream: DeviceStream, answer: Answer) -> None:
        """Notes the seq of a send; sends again what the server had no room for.

        Raises:
            Refused: it will not be accepted.
            TimeoutError: there was no answer.
        """
        for pause_seconds in (*_PAUSES_SECONDS, None):
            try:
                accepted = await asyncio.wait_for(answer, _ANSWER_SECONDS)
            except TimeoutError:
                raise TimeoutError(
                    f"{group.plan.title}: line {say.number} of {say.sender} has no answer after {_ANSWER_SECONDS:.0f} s"
                    f" ({stream.describe()})"
                ) from None
            except Refused as refusal:
                if not refusal.passes or pause_seconds is None:
                    raise
                group.retried_senders.add(say.sender)
                await asyncio.sleep(pause_seconds)
                answer = self._submit(group, say, stream)
            else:
                group.accepted[say.number] = accepted.seq
                self._stage.speakers.note_accepted(say.sender, group.conversation_id, accepted.seq)
                return


async def wait_for_arrival(due: Sequence[tuple[DeviceStream, str, int]]) -> None:
    """Returns when each stream has the seq of the conversation that it is due, or when nothing more comes."""
    seen = -1
    quiet_since = time.monotonic()
    while True:
        waiting = [stream for stream, conversation_id, seq in due if stream.last_seq(conversation_id) < seq]
        if not waiting:
            return
        received = sum(stream.received_count for stream, _, _ in due)
        if received != seen:
            seen, quiet_since = received, time.monotonic()
        elif time.monotonic() - quiet_since > _QUIET_SECONDS:
            return
        await asyncio.sleep(0.05)
