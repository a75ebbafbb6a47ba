"""What a stream has to receive, as pure state: no I/O, no clock, no tasks.

A session is live in a conversation (the hub hands it each run of entries), or it lags: then it keeps a position of
its own and is brought up by `replay.py`. What waits to be written is bounded: when MAX_BUFFERED_BYTES wait, the session
takes nothing more and lags from there on; the log in PostgreSQL is the buffer. The same when the client's own window is
full. Presence and typing have no log: they are merged by key, the latest wins.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from service.convert import responses
from service.convert.items import Item, message_bytes
from service.delivery.window import Window
from service.domain.errors import ParleyError
from storage.records import DeviceMode

# What may wait to be written to one stream.
MAX_BUFFERED_BYTES = 1024 * 1024
# The contract's limit of a frame from the server.
MAX_FRAME_BYTES = 1024 * 1024
# Results, errors and unanswered sends beyond which the stream's requests are not read.
MAX_UNANSWERED = 2000
# Different users' typing and presence that may wait; more is dropped.
MAX_EPHEMERAL = 2000


class _Alone(bytes):
    """A piece that is never joined with others."""


@dataclass(slots=True)
class Lag:
    """A conversation in which the session is behind.

    Attributes:
        position: the last seq that was handed on.
        floor_seq: from here on everything is visible to the user, so that the hub's tail may serve.
        is_member: False for a former member, who ends at the entry that removed them.
        end_seq: where the log ended when the session came: an earlier stream of the device may have had it up to there.
    """

    position: int
    floor_seq: int
    is_member: bool = True
    end_seq: int = 0


@dataclass(slots=True, eq=False)
class Session:
    """One stream of one device.

    Attributes:
        session_id: a random number; names the stream on the bus.
        mode: how its device acknowledges.
        wake: called when there is something to write; set by the stream's writer.
        on_entries: with manual acks, is told which conversation has grown; the session takes no entries.
        conversation_ids: what the session is attached to.
        lags: where it is behind, in the order in which they are served.
        finished: former conversations, and up to where the session got them.
        own_seqs: conversations in which the stream stored messages, and the last of their seqs; empty with no_echo.
        to_catch_up: conversations of the hello whose past is still to come.
        is_going_away: the server asked the client to leave.
        is_held: nothing is given out yet, since the welcome must come first.
        window: what the client lets be under way; None: no limit of its own.
        taken_count: messages of the frame that was taken last.
        on_error: told the reason of whatever is refused to the stream, to be counted.
        ending: why the stream is to end; None while it goes on.
    """

    session_id: int
    username: str
    device_id: str
    no_echo: bool = False
    mode: DeviceMode = field(default_factory=DeviceMode)
    wake: Callable[[], None] = lambda: None
    on_entries: Callable[[str], None] | None = None
    conversation_ids: dict[str, None] = field(default_factory=dict)  # as a set; that takes three times as much
    lags: dict[str, Lag] = field(default_factory=dict)
    finished: dict[str, int] = field(default_factory=dict)
    own_seqs: dict[str, int] = field(default_factory=dict)
    to_catch_up: set[str] = field(default_factory=set)
    unanswered_count: int = 0
    ending: ParleyError | None = None
    is_going_away: bool = False
    is_held: bool = False
    window: Window | None = None
    taken_count: int = 0
    on_error: Callable[[str], None] = lambda _: None
    _out: list[bytes] = field(default_factory=list)
    _out_counts: list[int] = field(default_factory=list)  # messages in each of them
    _out_bytes: int = 0
    _alone_count: int = 0
    _ephemeral: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def offer(self, conversation_id: str, run: list[Item], joined: bytes) -> int:
        """Takes entries of one conversation as far as there is room; gives how many of the run are done with.

        Args:
            run: entries with rising seqs and no gap.
            joined: their bodies, joined once for all sessions.
        """
        if self.on_entries is not None:
            self.on_entries(conversation_id)
            return len(run)
        if self._out_bytes and self._out_bytes + len(joined) > MAX_BUFFERED_BYTES:
            return 0
        taken_count = len(run)
        if self.window is not None:
            taken_count = self._fit(self.window, conversation_id, run)
        if taken_count < len(run) or (self.no_echo and any(item.origin == self.session_id for item in run)):
            wanted = [item.body for item in run[:taken_count] if not self._is_echo(item)]
            if wanted:
                self.put(b"".join(wanted), len(wanted))
        else:
            self.put(joined, taken_count)
        return taken_count

    def _fit(self, window: Window, conversation_id: str, run: list[Item]) -> int:
        """Puts entries into the window while it has room; what is left out as an echo takes none."""
        for nth, item in enumerate(run):
            if self._is_echo(item):
                continue
            size_bytes = message_bytes(item)
            if not window.has_room_for(size_bytes):
                return nth
            window.deliver(conversation_id, item.seq, size_bytes)
        return len(run)

    def _is_echo(self, item: Item) -> bool:
        return self.no_echo and item.origin == self.session_id

    def put(self, body: bytes, message_count: int = 0) -> None:
        """Adds what must be written whatever waits: results, errors, marks. Whoever calls it bounds it.

        Args:
            message_count: how many messages are in it.
        """
        self._out.append(body)
        self._out_counts.append(message_count)
        self._out_bytes += len(body)
        self.wake()

    def put_error(self, correlation_id: int, refusal: ParleyError) -> None:
        """Adds word of what is refused, and has it counted."""
        self.on_error(refusal.reason)
        self.put(responses.error(correlation_id, refusal))

    def put_alone(self, body: bytes) -> None:
        """Adds what must be a frame of its own, before anything that comes later."""
        self._out.append(_Alone(body))
        self._out_counts.append(0)
        self._out_bytes += len(body)
        self._alone_count += 1
        self.wake()

    def put_first(self, body: bytes) -> None:
        """Adds what goes before everything that waits: the welcome."""
        self._out.insert(0, body)
        self._out_counts.insert(0, 0)
        self._out_bytes += len(body)
        self.wake()

    def put_ephemeral(self, key: tuple[str, str], body: bytes) -> None:
        """Adds a state that the next one of the same key replaces."""
        if key in self._ephemeral or len(self._ephemeral) < MAX_EPHEMERAL:
            self._ephemeral[key] = body
            self.wake()

    def take_frame(self) -> bytes:
        """Joins what waits into one frame of at most MAX_FRAME_BYTES; empty when nothing waits."""
        out = self._out
        if self.is_held or not (out or self._ephemeral):
            return b""
        if self._out_bytes <= MAX_FRAME_BYTES and not self._ephemeral and not self._alone_count:
            frame = out[0] if len(out) == 1 else b"".join(out)
            self.taken_count = sum(self._out_counts)
            out.clear()
            self._out_counts.clear()
            self._out_bytes = 0
            return frame
        pieces: list[bytes] = []
        size_bytes = 0
        for piece in out:
            if pieces and (size_bytes + len(piece) > MAX_FRAME_BYTES or _Alone in (type(piece), type(pieces[-1]))):
                break
            pieces.append(piece)
            size_bytes += len(piece)
        self._out_bytes -= size_bytes
        self.taken_count = sum(self._out_counts[: len(pieces)])
        del out[: len(pieces)], self._out_counts[: len(pieces)]
        is_alone = bool(pieces) and type(pieces[-1]) is _Alone
        self._alone_count -= is_alone
        while self._ephemeral and not out and not is_alone and size_bytes < MAX_FRAME_BYTES // 2:
            key = next(iter(self._ephemeral))
            pieces.append(self._ephemeral.pop(key))
            size_bytes += len(pieces[-1])
        return b"".join(pieces)

    @property
    def has_output(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._out or self._ephemeral)

    @property
    def has_room(self) -> bool:
        """Whether a replay may go on."""
        return self.has_buffer_room and not self._is_window_full

    @property
    def has_buffer_room(self) -> bool:
        """Whether more may wait to be written, of what the client's window does not hold back."""
        return self._out_bytes < MAX_BUFFERED_BYTES // 2

    @property
    def room_count(self) -> int | None:
        """How many entries the client's window can take at most; None: it has none."""
        return None if self.window is None else self.window.room_count

    @property
    def may_read(self) -> bool:
        """Whether the stream's next request may be read: not too much is unanswered or unwritten."""
        return self.unanswered_count < MAX_UNANSWERED and self._out_bytes < 2 * MAX_BUFFERED_BYTES

    @property
    def is_settled(self) -> bool:
        """Whether everything that was asked for is answered and taken: a half-closed stream may end.

        What does not fit into the client's window never will, since nothing more comes from the client.
        """
        is_replaying = bool(self.lags or self.to_catch_up) and not self._is_window_full
        return not (self.unanswered_count or is_replaying or self.has_output)

    @property
    def _is_window_full(self) -> bool:
        return self.window is not None and self.window.is_full

    def fall_behind(
        self, conversation_id: str, position: int, floor_seq: int = 1, *, is_member: bool = True, end_seq: int = 0
    ) -> None:
        """Notes that the session needs what follows position from the log."""
        self.lags[conversation_id] = Lag(position, floor_seq, is_member, end_seq)
        self.wake()

    def is_in(self, conversation_id: str) -> bool:
        """Whether the user is a member, as known here; one who was removed may be attached and lag for long."""
        lag = self.lags.get(conversation_id)
        return conversation_id in self.conversation_ids and (lag is None or lag.is_member)

    def catch_up(self, conversation_id: str) -> None:
        """Notes that the session is behind no more; a half-closed stream may have waited for nothing else."""
        del self.lags[conversation_id]
        self.wake()

    def note_stored(self, conversation_id: str, seq: int) -> None:
        """Notes a message that this stream stored, and that is to come to it before a half-closed stream ends."""
        if not self.no_echo:
            self.own_seqs[conversation_id] = max(seq, self.own_seqs.get(conversation_id, 0))

    def next_lags(self, count: int) -> list[tuple[str, Lag]]:
        """Gives the next conversations to serve; they go to the end of the line, so that none holds back the rest."""
        chosen = list(self.lags)[:count]
        for conversation_id in chosen:
            self.lags[conversation_id] = self.lags.pop(conversation_id)
        return [(conversation_id, self.lags[conversation_id]) for conversation_id in chosen]

    def note_served(self, conversation_id: str) -> None:
        """Puts a conversation behind those that had no room in the window while this one took it."""
        self.lags[conversation_id] = self.lags.pop(conversation_id)

    def note_caught_up(self, conversation_ids: Iterable[str]) -> list[tuple[str, bool]]:
        """Marks conversations of the hello as brought; gives (conversation, whether all are) for those it was news."""
        marks = []
        for conversation_id in conversation_ids:
            if conversation_id in self.to_catch_up:
                self.to_catch_up.discard(conversation_id)
                marks.append((conversation_id, not self.to_catch_up))
        return marks

    def end(self, reason: ParleyError) -> None:
        """Asks the stream to end; the first reason counts."""
        if self.ending is None:
            self.ending = reason
        self.wake()
