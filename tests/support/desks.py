"""A running writer at which tests hand in messages, and what it told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from service.convert.items import Item
from service.domain.errors import ParleyError
from service.messages.budget import Budget
from service.messages.counts import WriterCounts
from service.messages.settlements import Publish, Settlements
from service.messages.submission import Submission
from service.messages.writer import Writer
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.log.append import Appender
from storage.records import Draft, Outcome, Stored
from tests.support.waiting import wait_for


@dataclass(slots=True)
class Ticket:
    """Gathers outcomes; each must come once."""

    outcomes: dict[int, Stored | ParleyError] = field(default_factory=dict)

    def settle(self, index: int, outcome: Stored | ParleyError) -> None:
        assert index not in self.outcomes
        self.outcomes[index] = outcome

    async def wait(self, *indexes: int, limit_seconds: float = 10.0) -> list[Stored | ParleyError]:
        await wait_for(
            lambda: all(index in self.outcomes for index in indexes), limit_seconds=limit_seconds, what="outcomes"
        )
        return [self.outcomes[index] for index in indexes]


@dataclass(slots=True)
class Desk:
    """A running writer and what it told."""

    writer: Writer
    announced: list[tuple[str, int]] = field(default_factory=list)
    origins: set[int] = field(default_factory=set)
    made: list[str] = field(default_factory=list)

    def submit(self, *drafts: Draft, deadline: float | None = None) -> Ticket:
        ticket = Ticket()
        self.writer.submit([Submission(one, b"", ticket, index, deadline=deadline) for index, one in enumerate(drafts)])
        return ticket

    async def store(self, *drafts: Draft) -> list[Stored | ParleyError]:
        return await self.submit(*drafts).wait(*range(len(drafts)))


@contextlib.asynccontextmanager
async def desk(
    database: Database,
    *,
    lanes: int = 1,
    max_queued: int = 20_000,
    connect: Callable[[int], Appender] | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Desk]:
    """Runs a writer on a database; closes it at the end."""
    conversations = Conversations(database)

    async def ensure_direct(conversation_id: str) -> str | None:
        opened.made.append(conversation_id)
        return await conversations.ensure_direct(conversation_id)

    def publish(by_conversation: Mapping[str, list[Item]]) -> None:
        opened.announced += [(name, item.seq) for name, items in by_conversation.items() for item in items]
        opened.origins |= {item.origin for items in by_conversation.values() for item in items}

    writer = Writer(
        connect or (lambda lock_timeout_ms: Appender(database, lock_timeout_ms=lock_timeout_ms)),
        lane_count=lanes,
        publish=publish,
        ensure_direct=ensure_direct,
        announce_members=lambda members: None,
        max_queued=max_queued,
        pause=pause,
    )
    opened = Desk(writer)
    writer.start()
    try:
        yield opened
    finally:
        await writer.close(5)


class NoTicket:
    """Nobody waits for the outcome."""

    def settle(self, index: int, outcome: object) -> None: ...


def announce(publish: Publish, messages: Sequence[tuple[Draft, bytes]], answers: Sequence[Stored]) -> None:
    """Announces stored messages as a lane does after its commit."""
    submissions = [Submission(one, message, NoTicket(), 0) for one, message in messages]
    Settlements(Budget(len(messages)), WriterCounts(), publish).announce(list(zip(submissions, answers, strict=True)))


def shown(outcomes: Sequence[Stored | ParleyError]) -> list[object]:
    """Seqs of what was stored, negative for repeats, and reasons of refusals."""
    return [
        one.reason if isinstance(one, ParleyError) else (one.seq if one.outcome is Outcome.STORED else -one.seq)
        for one in outcomes
    ]
