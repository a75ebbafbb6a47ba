"""One stream of one device: what it subscribes to, what it has to write, and the rules that need both. Pure.

`outbox.py` has what waits to be written, `subscriptions.py` where the session stands in each conversation,
`stream_state.py` how far the stream has come, `window.py` what the client lets be under way. A session takes entries as
far as buffer and window have room, and lags from there on.
"""

from collections.abc import Callable

from service.convert.items import Item, message_bytes
from service.delivery.outbox import Outbox
from service.delivery.stream_state import StreamState
from service.delivery.subscriptions import Subscriptions
from service.delivery.window import Window
from storage.records import DeviceMode


class Session:
    """One stream of one device.

    Args:
        wake: called when there is something to write.
        on_error: called with the reason of each refusal, to be counted.

    Attributes:
        session_id: a random number; names the stream on the bus.
        device_id: empty until the hello.
        no_echo: the client does not want its own messages.
        mode: how the device acknowledges.
        window: what the client lets be under way; None: no limit of its own.
    """

    __slots__ = (
        "_on_entries",
        "device_id",
        "mode",
        "no_echo",
        "outbox",
        "session_id",
        "state",
        "subscriptions",
        "username",
        "window",
    )

    def __init__(
        self,
        session_id: int,
        username: str,
        device_id: str = "",
        *,
        no_echo: bool = False,
        mode: DeviceMode | None = None,
        window: Window | None = None,
        wake: Callable[[], None] = lambda: None,
        on_error: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.session_id = session_id
        self.username = username
        self.outbox = Outbox(wake, on_error)
        self.subscriptions = Subscriptions(wake)
        self.state = StreamState(wake)
        self._on_entries: Callable[[str], None] | None = None
        self.configure(device_id, no_echo=no_echo, mode=mode or DeviceMode(), window=window)

    def configure(self, device_id: str, *, no_echo: bool, mode: DeviceMode, window: Window | None) -> None:
        """Takes what the client's hello says."""
        self.device_id = device_id
        self.no_echo = no_echo
        self.mode = mode
        self.window = window

    def signal_growth(self, on_entries: Callable[[str], None] | None) -> None:
        """Has the session take no entries, and call with the conversation that has grown; None: entries again."""
        self._on_entries = on_entries

    def offer(self, conversation_id: str, run: list[Item], joined: bytes) -> int:
        """Takes entries of one conversation as far as there is room; returns how many of the run are done with.

        Args:
            run: entries with rising seqs and no gap.
            joined: their bodies, joined once for all sessions.
        """
        if self._on_entries is not None:
            self._on_entries(conversation_id)
            return len(run)
        if self.window is None and not self.no_echo:
            return len(run) if self.outbox.offer(joined, len(run)) else 0
        if not self.outbox.fits(len(joined)):
            return 0
        taken_count = len(run) if self.window is None else self._fit(self.window, conversation_id, run)
        wanted = [item.body for item in run[:taken_count] if not self._is_echo(item)]
        if len(wanted) == len(run):
            self.outbox.put(joined, len(run))
        elif wanted:
            self.outbox.put(b"".join(wanted), len(wanted))
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

    def note_stored(self, conversation_id: str, seq: int) -> None:
        """Notes a message that this stream stored, unless the client does not want it back."""
        if not self.no_echo:
            self.subscriptions.note_stored(conversation_id, seq)

    @property
    def has_room(self) -> bool:
        """Whether a replay may go on."""
        return self.outbox.has_room and not self._is_window_full

    @property
    def room_count(self) -> int | None:
        """How many entries the client's window can take at most; None: it has none."""
        return None if self.window is None else self.window.room_count

    @property
    def is_settled(self) -> bool:
        """Whether everything that was asked for is answered and taken: a half-closed stream may end.

        What does not fit into the client's window never will, since nothing more comes from the client.
        """
        subscriptions = self.subscriptions
        is_replaying = bool(subscriptions.lags or subscriptions.to_catch_up) and not self._is_window_full
        return not (self.outbox.unanswered_count or is_replaying or self.outbox.has_output)

    @property
    def _is_window_full(self) -> bool:
        return self.window is not None and self.window.is_full
