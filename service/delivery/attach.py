"""Decides where a session begins in each conversation. Pure: no I/O, no clock.

`subscription_manager.py` reads what the decision needs, has it made here, and applies the plan. A session is live in a
conversation when it has everything up to the channel's position. Else it lags, and the replay brings what it lacks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.domain.errors import ConversationNotFound, ParleyError
from storage.records import SubscriptionStart


@dataclass(frozen=True, slots=True)
class Hello:
    """What a hello says of positions.

    Attributes:
        positions: by conversation, the last seq that the device has.
        starts_at_latest: the other conversations begin at their end, and not after the device's acks.
        epoch: the epoch that the device knows; 0: not said.
    """

    positions: Mapping[str, int]
    starts_at_latest: bool
    epoch: int = 0

    def is_of_another_epoch(self, present_epoch: int) -> bool:
        """Whether the device's acks may be void, so that former conversations must be looked at, too."""
        return not self.starts_at_latest and self.epoch not in (0, present_epoch)


class Behind(NamedTuple):
    """A conversation in which the session lags; the fields of `subscriptions.Lag`."""

    conversation_id: str
    position: int
    floor_seq: int
    is_member: bool
    end_seq: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a session is put.

    Attributes:
        live: (conversation, the channel's position) where the session has everything.
        behind: where it lags.
        returned: where its user came back while a former past is still being brought; that goes on.
        refusals: positions of the hello that are refused.
        resets: (conversation, where to start again) for positions that are void.
    """

    live: list[tuple[str, int]] = field(default_factory=list)
    behind: list[Behind] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    refusals: list[ParleyError] = field(default_factory=list)
    resets: list[tuple[str, int]] = field(default_factory=list)

    def caught_up_marks(self) -> list[tuple[str, int, bool]]:
        """The marks of the hello: (conversation, seq, whether all are brought), for what has no past to come.

        The last mark says that all are brought when nothing lags; it has no conversation when there is none.
        """
        marks = [(conversation_id, seq, False) for conversation_id, seq in self.live]
        if not self.behind:
            conversation_id, seq, _ = marks.pop() if marks else ("", 0, True)
            marks.append((conversation_id, seq, True))
        return marks


def conversations_of(starts: Sequence[SubscriptionStart]) -> list[str]:
    """The conversations that the user is a member of, whose channels must be open."""
    return [start.conversation_id for start in starts if start.is_member]


def foreign_epochs(hello: Hello, starts: Sequence[SubscriptionStart], present_epoch: int) -> dict[str, int]:
    """The epochs that positions are of, by conversation, where that is not the present one.

    A position of the hello is of the hello's epoch. An ack is of the hello's epoch, too, or of the one that was stored
    with it. Epoch 0 is not known, and is taken for the present one.
    """
    epochs: dict[str, int] = {}
    for start in starts:
        name = start.conversation_id
        if name in hello.positions:
            epochs[name] = hello.epoch
        elif not hello.starts_at_latest:
            epochs[name] = hello.epoch or start.cursor_epoch
    return {name: epoch for name, epoch in epochs.items() if epoch not in (0, present_epoch)}


def plan_hello(
    hello: Hello,
    starts: Sequence[SubscriptionStart],
    common_seqs: Mapping[str, int],
    channel_positions: Mapping[str, int],
) -> Plan:
    """Decides where a new session begins.

    Args:
        starts: the user's conversations, and former ones that matter.
        common_seqs: for positions of another epoch, up to where that epoch's log is the present one.
        channel_positions: the positions of the channels, of each conversation that the user is a member of.
    """
    plan = Plan()
    for start in starts:
        name, last_seq = start.conversation_id, start.last_seq
        position = hello.positions.get(name)
        if position is None:
            position = last_seq if hello.starts_at_latest else start.start_seq
        is_void = name in common_seqs or position > last_seq
        if is_void:
            position = min(position, last_seq, common_seqs.get(name, position))
            plan.resets.append((name, position))
        # What an earlier stream brought above a void position is no more.
        _place(plan, start, position, channel_positions, end_seq=0 if is_void else last_seq)
    known = {start.conversation_id for start in starts}
    plan.refusals.extend(ConversationNotFound(name) for name in hello.positions if name not in known)
    return plan


def plan_more(
    starts: Sequence[SubscriptionStart],
    channel_positions: Mapping[str, int],
    *,
    attached: Collection[str],
    lagging: Collection[str],
    finished: Mapping[str, int],
) -> Plan:
    """Decides where an open session goes on in further conversations of its user.

    Args:
        starts: these conversations.
        channel_positions: as of `plan_hello`.
        attached: conversations that the session is attached to: they stay as they are.
        lagging: conversations in which it lags, also as a former member.
        finished: conversations that the user had to leave, and up to where the session has them. A user who comes back
            goes on there, acked or not.
    """
    plan = Plan()
    for start in starts:
        name = start.conversation_id
        if name in attached:
            continue
        if name in lagging:
            if start.is_member:
                plan.returned.append(name)
            continue
        position = min(finished.get(name, start.start_seq), start.last_seq)
        _place(plan, start, position, channel_positions, end_seq=start.last_seq)
    return plan


def _place(
    plan: Plan, start: SubscriptionStart, position: int, channel_positions: Mapping[str, int], *, end_seq: int
) -> None:
    """Adds one conversation to a plan; a former member who has everything is in none of its lists."""
    name = start.conversation_id
    if start.is_member and position == channel_positions[name]:
        plan.live.append((name, position))
    elif start.is_member or position < start.last_seq:
        plan.behind.append(Behind(name, position, start.floor_seq, start.is_member, end_seq))
