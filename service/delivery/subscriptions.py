"""The conversations of one session: live, lagging or finished. Pure: no I/O, no clock.

A session is live in a conversation (the hub offers it each run of entries), or it lags: then it keeps a position of its
own, and `replay.py` brings the entries that follow. A conversation that the user had to leave is finished once the
session has the entry of the removal.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from storage.postgres.log.messages import TOP_SEQ


@dataclass(slots=True)
class Lag:
    """A conversation in which the session is behind.

    Attributes:
        position: the last seq that was delivered.
        floor_seq: from here on everything is visible to the user, so that the channel's tail may serve.
        is_member: False for a former member, whose replay ends at the entry of the removal.
        end_seq: the last seq when the session came: an earlier stream of the device may have had it up to there.
    """

    position: int
    floor_seq: int
    is_member: bool = True
    end_seq: int = 0

    def advance(self, seq: int) -> None:
        """Notes that entries up to a seq were delivered; the position never falls."""
        self.position = max(self.position, seq)

    def limit(self, *, is_member: bool, floor_seq: int) -> None:
        """Takes what the database says of the user's view; the floor never falls."""
        self.is_member = is_member
        self.floor_seq = max(self.floor_seq, floor_seq)


@dataclass(slots=True, eq=False)
class Subscriptions:
    """Where one session stands in each conversation.

    Attributes:
        wake: called when a lag begins or ends.
        conversation_ids: what the session is attached to, live or lagging; also a former member's, while it lags.
        lags: where the session is behind, in the order in which the conversations are served.
        finished: conversations that the user had to leave, and the last seq that the session may acknowledge there.
        own_seqs: conversations in which the stream stored messages, and the last of their seqs.
        to_catch_up: conversations of the hello whose past is still to come.
    """

    wake: Callable[[], None]
    conversation_ids: dict[str, None] = field(default_factory=dict)  # as a set; that takes three times as much
    lags: dict[str, Lag] = field(default_factory=dict)
    finished: dict[str, int] = field(default_factory=dict)
    own_seqs: dict[str, int] = field(default_factory=dict)
    to_catch_up: set[str] = field(default_factory=set)

    def attach(self, conversation_id: str) -> None:
        """Notes that the session belongs to a conversation.

        Args:
            conversation_id: the channel's string, which all its sessions share.
        """
        self.conversation_ids[conversation_id] = None
        self.finished.pop(conversation_id, None)

    def detach(self, conversation_id: str) -> None:
        """Notes that the session does not belong to a conversation any more; a lag stays."""
        self.conversation_ids.pop(conversation_id, None)

    def drop_lags(self) -> None:
        """Forgets all lags: the session is over."""
        self.lags.clear()

    def is_in(self, conversation_id: str) -> bool:
        """Whether the user is a member, as known here; a removed one may be attached and lag for long."""
        lag = self.lags.get(conversation_id)
        return conversation_id in self.conversation_ids and (lag is None or lag.is_member)

    def fall_behind(
        self, conversation_id: str, position: int, floor_seq: int = 1, *, is_member: bool = True, end_seq: int = 0
    ) -> None:
        """Notes that the session needs from the log what follows a position."""
        self.lags[conversation_id] = Lag(position, floor_seq, is_member, end_seq)
        self.wake()

    def catch_up(self, conversation_id: str) -> None:
        """Ends a lag. Wakes: a half-closed stream may have waited for nothing else."""
        del self.lags[conversation_id]
        self.wake()

    def finish(self, conversation_id: str, seq: int) -> None:
        """Notes that the session has everything of a conversation that the user may see, up to a seq."""
        self.finished[conversation_id] = seq

    def note_removal(self, conversation_id: str, seq: int) -> bool:
        """Notes that an entry, which was just delivered, takes the user out.

        Returns:
            True when the session has that entry, and is finished; False while it lags: then the replay finishes it.
        """
        lag = self.lags.get(conversation_id)
        if lag is None:
            self.finish(conversation_id, seq)
            return True
        # The database limits the rest of its replay; the tail, which all share, must not serve it any more, also when
        # the user comes back before the replay got here.
        lag.limit(is_member=False, floor_seq=TOP_SEQ)
        return False

    def note_return(self, conversation_id: str) -> bool:
        """Notes that the user is back; False when the session does not lag there, and is to be placed.

        The replay of the former past goes on, from the database alone.
        """
        lag = self.lags.get(conversation_id)
        if lag is None:
            return False
        lag.limit(is_member=True, floor_seq=TOP_SEQ)
        return True

    def note_stored(self, conversation_id: str, seq: int) -> None:
        """Notes a message that this stream stored, and that is to come to it before a half-closed stream ends."""
        self.own_seqs[conversation_id] = max(seq, self.own_seqs.get(conversation_id, 0))

    def next_lags(self, count: int) -> list[tuple[str, Lag]]:
        """Returns the next conversations to serve; they go to the end of the line, so that none holds back the rest."""
        chosen = list(self.lags)[:count]
        for conversation_id in chosen:
            self.lags[conversation_id] = self.lags.pop(conversation_id)
        return [(conversation_id, self.lags[conversation_id]) for conversation_id in chosen]

    def note_served(self, conversation_id: str) -> None:
        """Puts a conversation behind those that had no room in the window while this one took it."""
        self.lags[conversation_id] = self.lags.pop(conversation_id)

    def begin_catching_up(self) -> None:
        """Notes that what lags now is the past of the hello, whose end the client is told."""
        self.to_catch_up = set(self.lags)

    def note_caught_up(self, conversation_id: str) -> tuple[bool, bool]:
        """Notes that the past of a conversation was brought.

        Returns:
            Whether the conversation was one of the hello's, not brought before; and whether it was the last of them.
        """
        if conversation_id not in self.to_catch_up:
            return False, False
        self.to_catch_up.discard(conversation_id)
        return True, not self.to_catch_up
