"""What one worker knows of the streams that share a device's messages, as pure state: no I/O, no tasks.

The database says who holds what; this counts what each stream here has, so that no more is claimed than it has room
for. A message that another worker settled leaves the count at its deadline at the latest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from service.delivery.session import Session
from service.domain.retry import deal
from storage.postgres.devices.deliveries import Claim, Nack, Place

# A claim takes at most so many messages, from so many conversations.
MAX_CLAIM = 250
MAX_CLAIM_CONVERSATIONS = 32
# Less than one part in so many.
_CROWDED = 4
# A claim of this size may have been cut short by its limit of bytes.
_LARGE_CLAIM_BYTES = 512 * 1024


@dataclass(slots=True, eq=False)
class Consumer:
    """A stream that takes messages.

    Attributes:
        window_messages: how many it may hold.
        held: (conversation, seq) of what it holds, with its deadline on the event loop's clock; the earliest first.
    """

    session: Session
    deadline_seconds: float
    window_messages: int
    held: dict[tuple[str, int], float] = field(default_factory=dict)

    def hold(self, conversation_id: str, seq: int, now: float) -> None:
        """Notes that it has a message."""
        self.held.pop((conversation_id, seq), None)  # so that the order stays that of the deadlines
        self.held[conversation_id, seq] = now + self.deadline_seconds

    def forget_overdue(self, now: float) -> None:
        """Notes that it does not hold those any more whose deadline has passed."""
        while self.held and next(iter(self.held.values())) <= now:
            del self.held[next(iter(self.held))]

    def room(self, now: float) -> int:
        """How many messages it can take now."""
        self.forget_overdue(now)
        if not (self.session.state.course.takes_deliveries and self.session.has_room):
            return 0
        return max(0, self.window_messages - len(self.held))


@dataclass(slots=True, eq=False)
class PendingAck:
    """An ack or a nack on its way to the database, and whom to tell when it is refused.

    Attributes:
        is_tried: an earlier attempt failed, and may have taken effect.
    """

    session: Session
    correlation_id: int
    conversation_id: str
    seq: int
    nack: Nack | None = None
    is_tried: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """A stream that has ended; `counts` when what it held counts as failed."""

    session_id: int
    counts: bool


@dataclass(slots=True, eq=False)
class Group:
    """The streams of one device on this worker.

    Attributes:
        consumers: by session id, in the order in which they came.
        is_ordered: a conversation's next message waits for the one before.
        ready: conversations that may have something new, in the order in which they are looked at.
        blocked: of an ordered device, conversations that have more, behind something that must be settled first.
        needs_rescan: something may be due that the last claim did not see, or had no place for.
        has_lost_claim: a claim's answer did not come, and may have given something to streams here.
        acks: what was acked or nacked and is not in the database yet; sessions bound it.
    """

    username: str
    device_id: str
    is_ordered: bool
    consumers: dict[int, Consumer] = field(default_factory=dict)
    ready: dict[str, None] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    acks: list[PendingAck] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    needs_rescan: bool = False
    has_lost_claim: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Who it is."""
        return self.username, self.device_id

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.consumers or self.acks or self.releases)

    def note_ready(self, conversation_ids: Iterable[str]) -> None:
        """Notes where there may be something new."""
        self.ready.update(dict.fromkeys(conversation_ids))

    def invalidate(self) -> None:
        """Notes that something was settled, or may have been, and is not known here."""
        self.needs_rescan = True
        self.note_ready(sorted(self.blocked))
        self.blocked.clear()

    def holdings(self, now: float) -> dict[int, list[tuple[str, int]]]:
        """What each stream here holds, by session id."""
        for consumer in self.consumers.values():
            consumer.forget_overdue(now)
        return {session_id: list(consumer.held) for session_id, consumer in self.consumers.items()}

    def places(self, now: float) -> list[Place]:
        """The room of all streams here, dealt round."""
        rooms = [(session_id, consumer.room(now)) for session_id, consumer in self.consumers.items()]
        return [Place(owner, self.consumers[owner].deadline_seconds) for owner in deal(rooms, MAX_CLAIM)]

    def is_crowded(self, place_count: int) -> bool:
        """Whether this is little room for what the streams here may hold."""
        capacity = sum(consumer.window_messages for consumer in self.consumers.values())
        return place_count < min(capacity, MAX_CLAIM) // _CROWDED

    def next_grown(self) -> list[str]:
        """Takes the next conversations to look at; those that have more are put back by `note_claim`."""
        chosen = list(self.ready)[:MAX_CLAIM_CONVERSATIONS]
        for conversation_id in chosen:
            del self.ready[conversation_id]
        return chosen

    def note_claim(self, claim: Claim, place_count: int) -> bool:
        """Notes what a claim left; gives whether another one makes sense at once.

        Args:
            place_count: how many messages there was room for.
        """
        given = {delivery.entry.conversation_id for delivery in claim.deliveries}
        for conversation_id, has_moved in claim.rest.items():
            if self.is_ordered and (conversation_id in given or not has_moved):
                self.blocked.add(conversation_id)
            else:
                self.ready[conversation_id] = None
        size_bytes = sum(delivery.entry.size_bytes for delivery in claim.deliveries)
        self.needs_rescan = place_count == 0 or len(claim.deliveries) == place_count or size_bytes > _LARGE_CLAIM_BYTES
        return bool(claim.deliveries) or any(claim.rest.values())

    def note_failed(self, session: Session, position: tuple[str, int]) -> None:
        """Notes that a stream does not hold this any more, or never did; whoever does goes on holding it."""
        if (consumer := self.consumers.get(session.session_id)) is not None:
            consumer.held.pop(position, None)

    def note_settled(self, positions: Sequence[tuple[str, int]]) -> None:
        """Notes that these are held no more, by whichever stream."""
        settled = set(positions)
        for consumer in self.consumers.values():
            # By what is held: a thousand positions for each of hundreds of streams would hold up the event loop.
            for position in settled.intersection(consumer.held):
                del consumer.held[position]
        for conversation_id, _ in positions:
            if conversation_id in self.blocked:
                self.blocked.discard(conversation_id)
                self.ready[conversation_id] = None
