"""A running writer at which tests hand in messages, and what it told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from service.delivery.submission import Submission
from service.domain.errors import ParleyError
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

    def announce(stored: Sequence[tuple[Submission, Stored]]) -> None:
        opened.announced += [(one.draft.conversation_id, answer.seq) for one, answer in stored]

    writer = Writer(
        connect or (lambda lock_timeout_ms: Appender(database, lock_timeout_ms=lock_timeout_ms)),
        lane_count=lanes,
        announce=announce,
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


def shown(outcomes: Sequence[Stored | ParleyError]) -> list[object]:
    """Seqs of what was stored, negative for repeats, and reasons of refusals."""
    return [
        one.reason if isinstance(one, ParleyError) else (one.seq if one.outcome is Outcome.STORED else -one.seq)
        for one in outcomes
    ]
