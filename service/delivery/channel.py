"""One conversation that somebody listens to on this worker, as pure state.

Keeps the last seq that was delivered (the position of every live session), a bounded tail of ready bytes, and what
came too early. What is at or below the position is dropped; what is beyond the next seq is parked until the gap
before it is filled, by the bus or, after PARK_SECONDS, from PostgreSQL.
"""

from collections.abc import Collection, Iterable
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
        position: the last seq that was delivered; -1 until the log was read.
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
        """Takes entries from anywhere; gives those to deliver now, in order and without a gap."""
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
        """Returns what can be delivered after `open_at` or a cooldown."""
        waiting = [self.parked.pop(seq) for seq in sorted(self.parked)]
        return self.take(waiting)

    @property
    def has_gap(self) -> bool:
        """Whether something is known to be committed that was not delivered."""
        return self.position < self.known_last_seq

    def tail_after(self, position: int) -> list[Item] | None:
        """Returns all entries after a position from memory, or None when memory lacks some of them."""
        if position >= self.position:
            return []
        if not self._tail or self._tail[0].seq > position + 1:
            return None
        return [item for item in self._tail if item.seq > position]

    def replace(self, item: Item) -> bool:
        """Puts an item in the place of the one with the same seq; returns whether that was in memory."""
        if item.seq in self.parked:
            self.parked[item.seq] = item
            return True
        at = item.seq - self._tail[0].seq if self._tail else -1
        if not 0 <= at < len(self._tail):
            return False
        self._tail_bytes += len(item.body) - len(self._tail[at].body)
        self._tail[at] = item
        self._trim()
        return True

    def forget(self, seqs: Collection[int] | None = None) -> None:
        """Drops ready bytes of entries that were changed in the log, so that they are read from there.

        The tail loses what is below them, too: it has no gap. Entries that were parked are a gap then.

        Args:
            seqs: the entries; None: all.
        """
        first_seq = self._tail[0].seq if self._tail else 0
        last_seq = first_seq + len(self._tail) - 1
        if seqs is None:
            self.parked.clear()
            highest = last_seq
        else:
            for seq in seqs:
                self.parked.pop(seq, None)
            highest = max((seq for seq in seqs if first_seq <= seq <= last_seq), default=first_seq - 1)
        self._drop(highest - first_seq + 1)

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
        self._trim()

    def _trim(self) -> None:
        tail = self._tail
        gone_count = 0
        while len(tail) - gone_count > (MAX_TAIL_ITEMS if self._tail_bytes <= MAX_TAIL_BYTES else 1):
            self._tail_bytes -= len(tail[gone_count].body)
            gone_count += 1
        if gone_count:
            del tail[:gone_count]

    def _drop(self, count: int) -> None:
        """Drops the first `count` entries of the tail."""
        self._tail_bytes -= sum(len(item.body) for item in self._tail[:count])
        del self._tail[:count]
