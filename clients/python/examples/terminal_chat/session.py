"""A device's session over all its streams, as pure state: docs/clients.md in code. No I/O, no clock, no tasks.

`open` begins a stream, `receive` takes a frame, `take_frames` gives what is to be written, `close` ends the stream.
What must outlive a stream is here: unanswered sends, positions, the epoch. `connection.py` does what this one says.
"""

import enum
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf import duration_pb2
from parley.v1 import chat_pb2, message_pb2

from terminal_chat.errors import Refusal, from_status
from terminal_chat.marks import Marks
from terminal_chat.outbox import Outbox

HEARTBEAT_SECONDS = 10
ACK_SECONDS = 1.0
WINDOW_MESSAGES = 1000
# In a hello: far below the limit of a frame, with the longest ids. Conversations beyond begin after their acks.
MAX_HELLO_POSITIONS = 2000
# Frames whose refusal nobody need hear of: acks, read positions, typing.
_QUIET_ID = 1


class State(enum.Enum):
    """Where the session is."""

    AWAY = enum.auto()  # no stream
    GREETING = enum.auto()  # hello is said
    RESUMING = enum.auto()  # welcome came; resets may follow
    LIVE = enum.auto()  # all resets are known
    LEAVING = enum.auto()  # the server asked us to go: nothing new is begun


class HelloRefused(Exception):
    """The stream is of no use; `refusal` says whether another one may be."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(slots=True)
class Arrived:
    """What a frame brought.

    Attributes:
        frame: all of it, for what has no rules: presence and typing.
        is_open: the stream is open, as of this frame.
        resets: conversations of which everything above a seq is void; they come before `messages`.
        messages: new entries, each once, in order.
        refused: sends that had no effect and never will.
        postponed: sends that will be sent again.
        errors: what else was refused.
    """

    frame: chat_pb2.ChatResponse
    is_open: bool = False
    resets: list[chat_pb2.Reset] = field(default_factory=list)
    messages: list[message_pb2.Message] = field(default_factory=list)
    refused: list[tuple[message_pb2.SendRequest, Refusal]] = field(default_factory=list)
    postponed: list[tuple[message_pb2.SendRequest, Refusal]] = field(default_factory=list)
    errors: list[Refusal] = field(default_factory=list)


class Session:
    """The session of one device, as long as the program runs.

    Args:
        draw: for pauses; gives numbers from 0 to 1.

    Attributes:
        come_back_time: when to open the next stream, as the server asked; None when it did not.
    """

    def __init__(self, device_id: str, draw: Callable[[], float] = random.random) -> None:
        self.state = State.AWAY
        self.outbox = Outbox(draw)
        self.come_back_time: float | None = None
        self._device_id = device_id
        self._ids = itertools.count(_QUIET_ID + 1)
        self._hello_id = 0
        self._epoch = 0
        self._stream_epoch = 0
        self._positions: dict[str, int] = {}  # the last ones that moved are at the end
        self._acks = Marks()
        self._reads = Marks()
        self._said: list[chat_pb2.ChatRequest] = []
        self._told_time = float("-inf")
        self._knows_resets = False
        self._dealt_count = 0

    # What the program says.

    def send(self, request: message_pb2.SendRequest) -> None:
        """Takes a message; its request_id stays the same however often it is sent."""
        self.outbox.add(request)

    def note_dealt(self, message: message_pb2.Message) -> None:
        """The program is done with an entry that came, and that no reset made void: it may be acknowledged."""
        self._acks.note(message.conversation_id, message.seq)
        self._dealt_count += 1

    def note_read(self, conversation_id: str, seq: int) -> None:
        """The user has read up to a seq."""
        self._reads.note(conversation_id, seq)

    def say(self, frame: chat_pb2.ChatRequest) -> None:
        """Takes a frame that is worth nothing on another stream: typing, presence, a token."""
        if self.state in (State.GREETING, State.RESUMING, State.LIVE):
            frame.correlation_id = _QUIET_ID
            self._said.append(frame)

    # The stream.

    def open(self) -> chat_pb2.ChatRequest:
        """Begins a stream; gives its first frame."""
        self.state = State.GREETING
        self.come_back_time = None
        self._knows_resets = False
        self._hello_id = next(self._ids)
        newest = list(self._positions)[-MAX_HELLO_POSITIONS:]
        hello = chat_pb2.Hello(
            device_id=self._device_id,
            start=chat_pb2.START_FROM_ACKS,
            positions=[chat_pb2.Position(conversation_id=name, seq=self._positions[name]) for name in newest],
            heartbeat=duration_pb2.Duration(seconds=HEARTBEAT_SECONDS),
            epoch=self._epoch,
            window_messages=WINDOW_MESSAGES,
        )
        return chat_pb2.ChatRequest(correlation_id=self._hello_id, hello=hello)

    def close(self) -> None:
        """The stream has ended."""
        self.state = State.AWAY
        self.outbox.begin_stream()
        self._said.clear()
        self._dealt_count = 0

    def receive(self, frame: chat_pb2.ChatResponse, now: float) -> Arrived:
        """Takes a frame from the server.

        Raises:
            HelloRefused: there will be no session on this stream.
        """
        arrived = Arrived(frame, is_open=bool(frame.welcomes), resets=list(frame.resets))
        for welcome in frame.welcomes:
            self.state = State.RESUMING
            self._stream_epoch = welcome.epoch
        for reset in frame.resets:
            self._void(reset)
        if frame.messages or frame.caught_up:
            self._resume()
        for message in frame.messages:
            if self._is_new(message):
                arrived.messages.append(message)
        for mark in frame.caught_up:  # after the messages: those of this frame are below it
            self._move(mark.conversation_id, mark.seq)
        self._take_results(frame, arrived, now)
        for go_away in frame.go_aways:
            self.state = State.LEAVING
            self.come_back_time = now + go_away.reconnect_delay.ToMicroseconds() / 1e6
        return arrived

    def take_frames(self, now: float, *, is_last: bool = False) -> list[chat_pb2.ChatRequest]:
        """Returns what is to be written now.

        Args:
            is_last: the program ends: acks do not wait for their time.
        """
        frames: list[chat_pb2.ChatRequest] = []
        if self.state in (State.RESUMING, State.LIVE):
            frames = [
                chat_pb2.ChatRequest(correlation_id=number, send=chat_pb2.SendFrame(requests=[request]))
                for number, request in self.outbox.take(now, self._ids)
            ]
            frames += self._said
            self._said.clear()
        # Not before all resets are known: an ack or a read position of before may mean another entry by now.
        is_due = is_last or now >= self._tell_time()
        if self._knows_resets and (self.is_leaving or (self.state is State.LIVE and is_due)):
            frames += [_quiet(ack=chat_pb2.AckFrame(positions=part)) for part in self._acks.take()]
            frames += [_quiet(read=chat_pb2.ReadFrame(positions=part)) for part in self._reads.take()]
            self._told_time = now
            self._dealt_count = 0
        return frames

    @property
    def is_leaving(self) -> bool:
        """Whether the server asked us to go, and all is answered: our half of the stream may end."""
        return self.state is State.LEAVING and not self.outbox.is_under_way

    def due_time(self) -> float | None:
        """When `take_frames` may have something, if nothing happens before; None: not by itself."""
        times = []
        if self.state in (State.RESUMING, State.LIVE) and (outbox_time := self.outbox.due_time) is not None:
            times.append(outbox_time)
        if self.state is State.LIVE and (self._acks or self._reads):
            times.append(self._tell_time())
        return min(times, default=None)

    def _tell_time(self) -> float:
        """Acks go out once a second, and at once when they are to open the window again."""
        return self._told_time + (ACK_SECONDS if self._dealt_count < WINDOW_MESSAGES // 2 else 0.0)

    def _resume(self) -> None:
        """The first entry or mark of a stream: all its resets came before."""
        if not self._knows_resets:
            self._knows_resets = True
            if self.state is State.RESUMING:
                self.state = State.LIVE
            self._acks.renew_all()
            self._reads.renew_all()
        # Only now: a stream that broke between two resets must bring the rest again.
        self._epoch = self._stream_epoch

    def _is_new(self, message: message_pb2.Message) -> bool:
        """Returns whether an entry did not come before."""
        if message.seq <= self._positions.get(message.conversation_id, 0):
            self._acks.renew(message.conversation_id)
            return False
        self._move(message.conversation_id, message.seq)
        return True

    def _move(self, conversation_id: str, seq: int) -> None:
        if conversation_id:
            self._positions[conversation_id] = max(seq, self._positions.pop(conversation_id, 0))

    def _void(self, reset: chat_pb2.Reset) -> None:
        name = reset.conversation_id
        if name in self._positions:
            self._positions[name] = min(reset.seq, self._positions[name])
        self._acks.cut(name, reset.seq)
        self._reads.cut(name, reset.seq)

    def _take_results(self, frame: chat_pb2.ChatResponse, arrived: Arrived, now: float) -> None:
        for result in frame.results:
            if result.HasField("error"):
                self._take_refusal(result.correlation_id, from_status(result.error), arrived, now)
            else:
                self.outbox.settle(result.correlation_id)
        for error in frame.errors:
            refusal = from_status(error.error)
            if error.correlation_id == self._hello_id:
                self._take_hello_refusal(refusal)
            elif error.correlation_id != _QUIET_ID and not self._take_refusal(
                error.correlation_id, refusal, arrived, now
            ):
                arrived.errors.append(refusal)

    def _take_refusal(self, number: int, refusal: Refusal, arrived: Arrived, now: float) -> bool:
        """Takes the refusal of a send; False when it is not about one."""
        if refusal.is_passing:
            request = self.outbox.postpone(number, now, refusal.retry_seconds)
            whereto = arrived.postponed
        else:
            request = self.outbox.settle(number)
            whereto = arrived.refused
        if request is not None:
            whereto.append((request, refusal))
        return request is not None

    def _take_hello_refusal(self, refusal: Refusal) -> None:
        """Before the welcome it is the end; after it, about a position that is of no use any more."""
        if self.state is State.GREETING:
            raise HelloRefused(refusal)
        self._positions.pop(refusal.conversation_id, None)
        self._acks.forget(refusal.conversation_id)
        self._reads.forget(refusal.conversation_id)


def _quiet(**payload: chat_pb2.AckFrame | chat_pb2.ReadFrame) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(correlation_id=_QUIET_ID, **payload)  # type: ignore[arg-type] # one of the arms
