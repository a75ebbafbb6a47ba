"""The load of all scenarios that send: senders at a pace, and streams that read what they sent."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from parley.v1 import chat_pb2

from bench.connections import Address, Connections
from bench.errors import RunBroken
from bench.meter import Meter
from bench.outbox import Outbox
from bench.pacing import Alarm, Schedule
from bench.reading import Frames, ReadingStream
from bench.results import Verification
from bench.sending import Sender
from bench.streams import Stream, open_all
from bench.texts import Texts
from bench.unary import UnarySender
from bench.users import User
from bench.verify import Acks, Brought, Evidence, Logs, find_last_seqs
from bench.window import Window

_ANSWER_SECONDS = 30.0
# Readers that a closed loop waits for; a few stand for all, since each is looked at for each frame.
_HELD_FOR = 8
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Pace:
    """How senders send.

    Attributes:
        frame_messages: messages a frame.
        window_frames: unanswered frames of a stream; closed loop.
        messages_per_second: of all streams of all generators; None: closed loop.
        ack_seconds: how often readers acknowledge; 0: never.
        is_unary: senders call `Send`, one message after the other.
        is_held: in a closed loop a message is outstanding until readers have it.
        is_spread: the messages of a frame go to different conversations.
    """

    frame_messages: int
    window_frames: int
    messages_per_second: float | None
    ack_seconds: float
    is_unary: bool = False
    is_held: bool = False
    is_spread: bool = False


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """A stream to be opened: whose, and in which conversations it sends or reads.

    Attributes:
        index: of a sender, in its texts.
    """

    username: str
    token: str
    device_id: str
    conversations: tuple[str, ...]
    index: int = 0


@dataclass(frozen=True, slots=True)
class StreamLoadPart:
    """One generator's part.

    Attributes:
        run, size_bytes: of the texts.
        base_seqs: of all conversations that the readers read, the seq above which the run's messages are.
        place, places: which generator this is, of how many.
    """

    address: Address
    run: str
    size_bytes: int
    pace: Pace
    senders: tuple[StreamPlan, ...]
    readers: tuple[StreamPlan, ...]
    base_seqs: Mapping[str, int]
    streams_a_connection: int
    place: int
    places: int

    def start(self, meter: Meter) -> "StreamLoad":
        """Makes the load."""
        return StreamLoad(self, meter)


class StreamLoad:
    """The load; see `bench.load.Load`."""

    def __init__(self, part: StreamLoadPart, meter: Meter) -> None:
        self._part = part
        self._meter = meter
        self._connections = Connections(part.address, part.streams_a_connection)
        self._texts = Texts(part.run, part.size_bytes)
        self._logs = Logs(self._texts, part.base_seqs)
        is_shared = len(part.base_seqs) < sum(len(plan.conversations) for plan in part.readers)
        self._frames = Frames(self._logs, meter, is_shared=is_shared)
        self._streams: list[tuple[Stream, chat_pb2.Hello]] = []
        self._stream_senders: list[Sender] = []
        self._unary_senders: list[UnarySender] = []
        self._senders: list[Outbox] = []
        self._readers: list[ReadingStream] = []
        self._make_streams()
        if part.pace.is_held:
            for sender in self._stream_senders:
                sender.hold_for(self._readers[:: len(self._readers) // _HELD_FOR + 1])
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = asyncio.Event()
        self._failure = ""

    async def open(self) -> None:
        """Opens all streams."""
        await open_all(self._streams)

    async def run(self, window: Window) -> None:
        """Sends until the window ends or a stream breaks."""
        for reading in self._readers:
            self._start(reading.run(), reading.stream.name)
        read_elsewhere = {reading.stream for reading in self._readers}
        for sender in self._stream_senders:
            if sender.stream not in read_elsewhere:
                self._start(_read_answers(sender))
        if self._part.pace.ack_seconds:
            self._start(self._acknowledge())
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, (window.begin_ns - time.monotonic_ns()) / 1e9))
        loop.call_later((window.end_ns - time.monotonic_ns()) / 1e9, self._is_over.set)
        pace = self._part.pace
        if pace.messages_per_second is None:
            sending = [self._start(each.send_closed(pace.window_frames)) for each in self._senders]
        else:
            sending = [self._start(each.send_open()) for each in self._senders]
            sending.append(self._start(self._push(window, pace.messages_per_second / pace.frame_messages)))
        await self._is_over.wait()
        for each in self._senders:
            each.stop()
        if not self._failure:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await asyncio.gather(*sending, return_exceptions=True)
                    await asyncio.gather(*(each.drain() for each in self._senders))
            except TimeoutError:
                self._failure = f"not all that was sent was answered within {_ANSWER_SECONDS:.0f} s"
        if self._failure:
            raise RunBroken(self._failure)

    def stop(self) -> None:
        """Ends the sending."""
        self._is_over.set()

    async def renew(self, tokens: Mapping[str, str]) -> None:
        """Goes on with fresh tokens."""
        for stream, _ in self._streams:
            await stream.renew(tokens)
        for sender in self._unary_senders:
            sender.renew(tokens)

    def last_seqs(self) -> Mapping[str, int]:
        """What was acknowledged."""
        return find_last_seqs(sender.acks for sender in self._senders)

    async def settle(self, last_seqs: Mapping[str, int], limit_seconds: float) -> None:
        """Waits for the readers."""
        deadline = time.monotonic() + limit_seconds
        while time.monotonic() < deadline and not self._failure:
            if all(reading.reader.has(name, seq) for reading in self._readers for name, seq in last_seqs.items()):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> Evidence:
        """Hangs up."""
        ended = {task.get_name() for task in self._tasks if task.done()}
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for stream, _ in self._streams:
            stream.cancel()
        await self._connections.close()
        readers = [reading.reader for reading in self._readers]
        found = Verification(
            checked=sum(reader.checked for reader in readers),
            doubled=self._logs.doubled
            + sum(reader.doubled for reader in readers)
            + sum(sender.doubled for sender in self._stream_senders),
            disordered=self._logs.disordered + sum(reader.disordered for reader in readers),
            altered=self._logs.altered,
        )
        brought = [
            Brought(name, next_seq, frozenset(reading.reader.missing.get(name, ())))
            for reading in self._readers
            # In a run that broke nobody waited for what was still on its way, and other streams may end in a moment.
            if not self._failure and reading.stream.name not in ended
            for name, next_seq in reading.reader.next_seqs.items()
        ]
        acks: dict[str, list[Acks]] = {}
        for sender in self._senders:
            for name, each in sender.acks.items():
                acks.setdefault(name, []).append(each)
        logs = {name: (log.base_seq, log.keys) for name, log in self._logs.logs.items()}
        return Evidence(acks, logs, brought, found)

    def _make_streams(self) -> None:
        """Makes senders and readers."""
        self._senders += [self._make_sender(plan) for plan in self._part.senders]
        self._readers += [self._make_reader(plan) for plan in self._part.readers]

    def _make_sender(self, plan: StreamPlan) -> Outbox:
        channel = self._connections.next()
        if self._part.pace.is_unary:
            caller = User(plan.username, plan.token)
            unary = UnarySender(channel, caller, plan.index, plan.conversations, self._texts, self._meter)
            self._unary_senders.append(unary)
            return unary
        stream = Stream(channel, plan.token, f"{plan.username}/{plan.device_id}")
        hello = chat_pb2.Hello(device_id=plan.device_id, start=chat_pb2.START_LATEST, no_echo=True)
        self._streams.append((stream, hello))
        pace = self._part.pace
        sender = Sender(
            stream,
            plan.index,
            plan.conversations,
            self._texts,
            self._meter,
            pace.frame_messages,
            is_spread=pace.is_spread,
        )
        self._stream_senders.append(sender)
        return sender

    def _make_reader(self, plan: StreamPlan) -> ReadingStream:
        stream = Stream(self._connections.next(), plan.token, f"{plan.username}/{plan.device_id}")
        self._streams.append((stream, chat_pb2.Hello(device_id=plan.device_id, start=chat_pb2.START_LATEST)))
        base_seqs = {name: self._part.base_seqs[name] for name in plan.conversations}
        return ReadingStream(stream, base_seqs, self._frames, self._meter)

    def _start(self, work: Coroutine[Any, Any, None], name: str | None = None) -> "asyncio.Task[None]":
        """Runs work whose failure ends the run."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._note_end)
        self._tasks.append(task)
        return task

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or str(error) or repr(error)
            self._is_over.set()

    async def _acknowledge(self) -> None:
        while True:
            await asyncio.sleep(self._part.pace.ack_seconds)
            for reading in self._readers:
                await reading.acknowledge()

    async def _push(self, window: Window, frames_per_second: float) -> None:
        """Has the senders, in turn, send at the times of the schedule."""
        schedule = Schedule(window.begin_ns, frames_per_second, self._part.place, self._part.places)
        alarm = Alarm()
        try:
            while (next_ns := schedule.next_ns()) < window.end_ns and not self._is_over.is_set():
                await alarm.wait_until(next_ns)
                first = schedule.taken
                for nth, time_ns in enumerate(schedule.take_due(time.monotonic_ns()), first):
                    self._senders[nth % len(self._senders)].push(time_ns)
        finally:
            alarm.close()


async def _read_answers(sender: Sender) -> None:
    while True:
        sender.take_answers(chat_pb2.ChatResponse.FromString(await sender.stream.read()))
