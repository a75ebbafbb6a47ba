"""One conversation that somebody listens to on this worker, as pure state.

Keeps the last seq that was handed on (the position of every live session), a bounded tail of ready bytes, and what
came too early. What is at or below the position is dropped; what is beyond the next seq is parked until the gap
before it is filled, by the bus or, after PARK_SECONDS, from PostgreSQL.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.convert.items import Item
from service.delivery.session import Session

# Several workers publish out of commit order all the time; most gaps fill themselves within this.
PARK_SECONDS = 0.03
MAX_PARKED = 2000
MAX_TAIL_ITEMS = 128
MAX_TAIL_BYTES = 64 * 1024


@dataclass(slots=True, eq=False)
class Channel:
    """The state of one conversation on this worker.

    Attributes:
        position: the last seq that was handed on; -1 until the log was read.
        known_last_seq: the highest seq that is known to be committed.
        live: the sessions that get each run of entries as it comes.
        lagging: sessions that are attached and behind.
        idle_since: when the last session left, on the event loop's clock; None while there is one.
    """

    conversation_id: str
    position: int = -1
    known_last_seq: int = 0
    live: set[Session] = field(default_factory=set)
    lagging: set[Session] = field(default_factory=set)
    parked: dict[int, Item] = field(default_factory=dict)
    idle_since: float | None = None
    is_reading: bool = False
    _tail: list[Item] = field(default_factory=list)
    _tail_bytes: int = 0

    def open_at(self, last_seq: int) -> None:
        """Sets the position to what the log said after the subscription was confirmed."""
        self.position = last_seq
        self.known_last_seq = max(self.known_last_seq, last_seq)

    def take(self, items: Iterable[Item]) -> list[Item]:
        """Takes entries from anywhere; gives those to hand on now, in order and without a gap."""
        run: list[Item] = []
        is_open = self.position >= 0
        expected = self.position + 1
        highest = self.known_last_seq
        for item in items:
            seq = item.seq
            if seq == expected and is_open:
                run.append(item)
                expected += 1
                while self.parked and (parked := self.parked.pop(expected, None)) is not None:
                    run.append(parked)
                    expected += 1
            elif (seq > expected or not is_open) and len(self.parked) < MAX_PARKED:
                self.parked[seq] = item
            if seq > highest:
                highest = seq
        self.known_last_seq = highest
        if run:
            self.position = expected - 1
            self._remember(run)
            if self.parked:
                self.parked = {seq: item for seq, item in self.parked.items() if seq > self.position}
        return run

    def park(self, items: Iterable[Item]) -> None:
        """Keeps entries for `take_parked`; what there is no room for is a gap then."""
        for item in items:
            if item.seq > self.position and len(self.parked) < MAX_PARKED:
                self.parked[item.seq] = item
            self.known_last_seq = max(self.known_last_seq, item.seq)

    def take_parked(self) -> list[Item]:
        """Gives what can be handed on after `open_at` or a cooldown."""
        waiting = [self.parked.pop(seq) for seq in sorted(self.parked)]
        return self.take(waiting)

    @property
    def has_gap(self) -> bool:
        """Whether something is known to be committed that was not handed on."""
        return self.position < self.known_last_seq

    def tail_after(self, position: int) -> list[Item] | None:
        """Gives all entries after a position from memory, or None when they are not all there."""
        if position >= self.position:
            return []
        if not self._tail or self._tail[0].seq > position + 1:
            return None
        return [item for item in self._tail if item.seq > position]

    def forget_tail(self) -> None:
        """Drops what is in memory of entries that were handed on: they are not in the log any more as they were."""
        self._tail.clear()
        self._tail_bytes = 0

    def leave(self, session: Session, now: float) -> None:
        """Forgets a session."""
        self.live.discard(session)
        self.lagging.discard(session)
        if not self.live and not self.lagging and self.idle_since is None:
            self.idle_since = now

    def _remember(self, run: list[Item]) -> None:
        tail = self._tail
        if len(run) >= MAX_TAIL_ITEMS:
            tail.clear()
            self._tail_bytes = 0
            run = run[-MAX_TAIL_ITEMS:]
        tail.extend(run)
        self._tail_bytes += sum(len(item.body) for item in run)
        gone_count = 0
        while len(tail) - gone_count > (MAX_TAIL_ITEMS if self._tail_bytes <= MAX_TAIL_BYTES else 1):
            self._tail_bytes -= len(tail[gone_count].body)
            gone_count += 1
        if gone_count:
            del tail[:gone_count]
