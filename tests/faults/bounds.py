"""How long what was promised to be quick did take. It is reported beside its limit, and no test hangs on it.

Read from a history; times are seconds of the run's clock.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum

import asyncpg

from tests.faults.history import History, Op
from tests.support.waiting import wait_for

_PROBE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Limit:
    """What is measured, and how long it may take."""

    what: str
    limit_seconds: float


_REPAIRED, _ANSWERED = "every device has what was sent meanwhile", "first answer after the database's return"


class Bound(Enum):
    """The limits that are reported."""

    REPAIRED = Limit(_REPAIRED, 2.0)
    REPAIRED_AWAY = Limit(_REPAIRED, 5.0)  # while the bus is away
    LAST_WORDS = Limit("others have what a worker committed and did not publish", 2.0)
    ANSWERED = Limit(_ANSWERED, 3.0)
    ANSWERED_HUNG = Limit(_ANSWERED, 8.0)  # the primary hung
    PRESENCE_UNKNOWN = Limit("presence is unknown while Redis is away", 5.0)
    PRESENCE = Limit("presence is right after Redis came back", 15.0)
    PRESENCE_EMPTY = Limit("presence is right after Redis came back empty", 15.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of a bound."""

    bound: Bound
    seconds: float


def longest_way(history: History, *, begin: float = 0.0, end: float = float("inf")) -> float:
    """The longest time from an answer until a device had the message, of what was answered in a time."""
    answered: dict[tuple[str, int], float] = {}
    for event in history.events:
        if event.op is Op.OK:
            answered.setdefault((event.conversation_id, event.seq), event.time)
    arrived: set[tuple[str, str, int]] = set()
    longest = 0.0
    for delivery in history.deliveries:
        place = (delivery.device, delivery.conversation_id, delivery.seq)
        if place not in arrived:
            arrived.add(place)
            answer_time = answered.get(place[1:], delivery.time)
            if begin <= answer_time < end:
                longest = max(longest, delivery.time - answer_time)
    return longest


def first_answer(history: History, begin: float) -> float:
    """How long after a moment somebody had an answer."""
    return min(event.time for event in history.events if event.op is Op.OK and event.time >= begin) - begin


async def wait_for_database(url: str) -> None:
    """Waits until PostgreSQL takes a connection and answers on it."""

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(url, timeout=_PROBE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                return bool(await connection.fetchval("SELECT NOT pg_is_in_recovery()"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False
        finally:
            connection.terminate()

    await wait_for(answers, limit_seconds=60, what="the database")
