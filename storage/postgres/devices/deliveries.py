"""Messages on their way to devices that acknowledge each one alone: claimed, acked, failed, given back.

The rules are in the functions of `migrations/0003_deliveries.sql`; a method here is one statement where it does not say
otherwise. What is claimed and lost on its way to the worker is taken back by it, or comes again after its deadline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from storage.postgres.connections.database import Database
from storage.postgres.log.live_conversations import JOIN_LIVE_CONVERSATIONS
from storage.postgres.log.messages import PAGE_BYTES, to_entry
from storage.records import Entry

# Messages of a device that are neither acked nor dead.
MAX_UNSETTLED = 1_000
# How long after its deadline a message is looked after by any worker: those of its device come first.
_ORPHAN_SECONDS = 2.0
_ORPHANS = 100
_LIST_ORPHANED = """
SELECT DISTINCT o.username, o.device_id FROM (
    SELECT d.username, d.device_id FROM deliveries d
    WHERE d.owner <> 0 AND d.due_time < clock_timestamp() - make_interval(secs => $1)
    ORDER BY d.due_time LIMIT $2) o"""


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one message in a stream.

    Attributes:
        owner: the stream's session.
        deadline_seconds: how long it has for the ack.
    """

    owner: int
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed message.

    Attributes:
        owner: the session that holds it.
        attempt: which one this is, from 1.
    """

    entry: Entry
    owner: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim gave.

    Attributes:
        deliveries: in the order in which they are to be delivered.
        rest: conversations of those asked for that have more, and whether this claim came on in them.
        due_seconds: when a deadline or a wait of this device ends; None: there is none to come.
    """

    deliveries: list[Delivery]
    rest: dict[str, bool]
    due_seconds: float | None


@dataclass(frozen=True, slots=True)
class Nack:
    """A message that failed.

    Attributes:
        owner: the session that must hold it.
        delay_seconds: when it may come again; None: as the schedule says.
    """

    conversation_id: str
    seq: int
    owner: int
    reason: str
    delay_seconds: float | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an ack or a nack.

    Attributes:
        is_found: it took effect: the message was unsettled (for a nack: held by that stream).
        is_dead: it had become a dead letter.
        is_member: whether the user is or was in the conversation.
        claimed_seq: the last seq that was handed to the device, or settled without.
    """

    is_found: bool
    is_dead: bool
    is_member: bool
    claimed_seq: int


class Deliveries:
    """What is unsettled.

    Args:
        retry_seconds: the wait after each failed attempt but the last, which makes a dead letter.
    """

    def __init__(self, database: Database, *, retry_seconds: Sequence[float]) -> None:
        self._database = database
        self._retry_seconds = list(retry_seconds)

    async def claim(
        self, username: str, device_id: str, places: Sequence[Place], conversation_ids: Sequence[str]
    ) -> Claim:
        """Claims up to a message for each place; what is overdue is failed first, also without places.

        Args:
            conversation_ids: where something new may be; some dozens.
        """
        rows = await self._database.fetch(
            "SELECT * FROM claim_deliveries($1, $2, $3, $4, $5, $6, $7, $8)",
            username,
            device_id,
            [place.owner for place in places],
            [place.deadline_seconds for place in places],
            list(conversation_ids),
            self._retry_seconds,
            MAX_UNSETTLED,
            PAGE_BYTES,
        )
        deliveries = [Delivery(to_entry(row), row["owner"], row["attempts"]) for row in rows if row["seq"] is not None]
        rest = {
            row["conversation_id"]: row["is_moved"]
            for row in rows
            if row["seq"] is None and row["conversation_id"] is not None
        }
        return Claim(deliveries, rest, rows[-1]["due_seconds"])

    async def ack(self, username: str, device_id: str, positions: Sequence[tuple[str, int]]) -> list[Settlement]:
        """Settles messages, whoever holds them; gives what became of each, in order.

        Args:
            positions: (conversation, seq), none twice.
        """
        rows = await self._database.fetch(
            "SELECT * FROM ack_deliveries($1, $2, $3, $4) ORDER BY ord",
            username,
            device_id,
            [conversation_id for conversation_id, _ in positions],
            [seq for _, seq in positions],
        )
        return [_to_settlement(row) for row in rows]

    async def nack(self, username: str, device_id: str, nacks: Sequence[Nack]) -> list[Settlement]:
        """Ends attempts as failed; gives what became of each, in order. None is twice in it."""
        rows = await self._database.fetch(
            "SELECT * FROM nack_deliveries($1, $2, $3, $4, $5, $6, $7, $8) ORDER BY ord",
            username,
            device_id,
            [nack.conversation_id for nack in nacks],
            [nack.seq for nack in nacks],
            [nack.owner for nack in nacks],
            [nack.reason for nack in nacks],
            [nack.delay_seconds for nack in nacks],
            self._retry_seconds,
        )
        return [_to_settlement(row) for row in rows]

    async def release(self, username: str, device_id: str, owner: int, *, counts: bool) -> int:
        """Releases what an ended stream held, for other streams at once; returns how many messages that were.

        Args:
            counts: whether the attempts count as failed.
        """
        return int(
            await self._database.fetchval(
                "SELECT release_deliveries($1, $2, $3, $4, $5, $6)",
                username,
                device_id,
                owner,
                counts,
                "The stream broke off.",
                len(self._retry_seconds) + 1,
            )
        )

    async def take_back(self, username: str, device_id: str, holdings: Mapping[int, Sequence[tuple[str, int]]]) -> None:
        """Takes from owners what they do not hold in truth; those attempts do not count. Two statements.

        Args:
            holdings: by owner, the (conversation, seq) that did reach it.
        """
        held = [(owner, *position) for owner, positions in holdings.items() for position in positions]
        async with self._database.transaction() as connection:
            await connection.execute(
                "SELECT 1 FROM devices WHERE username = $1 AND device_id = $2 FOR NO KEY UPDATE", username, device_id
            )
            await connection.execute(
                """UPDATE deliveries d SET owner = 0, attempts = d.attempts - 1, due_time = clock_timestamp()
                   WHERE d.username = $1 AND d.device_id = $2 AND d.owner = ANY ($3)
                     AND d.due_time > clock_timestamp()
                     AND (d.owner, d.conversation_id, d.seq) NOT IN (
                         SELECT * FROM unnest($4::bigint[], $5::text[], $6::bigint[]))""",
                username,
                device_id,
                list(holdings),
                [owner for owner, _, _ in held],
                [conversation_id for _, conversation_id, _ in held],
                [seq for _, _, seq in held],
            )

    async def begin_at_end(self, username: str, device_id: str) -> None:
        """Lets a device begin at the end of each conversation in which it has no cursor."""
        await self._database.execute(
            f"""INSERT INTO cursors (username, device_id, conversation_id, acked_seq, epoch)
               SELECT m.username, $2, m.conversation_id, greatest(c.last_seq, m.start_seq), d.epoch
               FROM members m {JOIN_LIVE_CONVERSATIONS}
               CROSS JOIN deployment d
               WHERE m.username = $1 AND m.role > 0
               ORDER BY m.conversation_id
               ON CONFLICT DO NOTHING""",
            username,
            device_id,
        )

    async def list_ready(self, username: str, device_id: str) -> list[str]:
        """Lists the conversations, former ones included, that have something which the device did not claim."""
        rows = await self._database.fetch(
            f"""SELECT m.conversation_id
               FROM members m {JOIN_LIVE_CONVERSATIONS}
               LEFT JOIN cursors k ON k.username = m.username AND k.device_id = $2
                                  AND k.conversation_id = m.conversation_id
               WHERE m.username = $1
                 AND greatest(k.claimed_seq, coalesce(k.acked_seq, m.start_seq))
                     < visible_end(m.visible, c.last_seq)
               ORDER BY c.last_time""",
            username,
            device_id,
        )
        return [row["conversation_id"] for row in rows]

    async def list_due(self, devices: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Lists those of the (user, device) pairs of which a deadline or a wait has ended."""
        rows = await self._database.fetch(
            """SELECT q.username, q.device_id FROM unnest($1::text[], $2::text[]) AS q(username, device_id)
               WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.username = q.username AND d.device_id = q.device_id
                             AND d.due_time <= clock_timestamp())""",
            [username for username, _ in devices],
            [device_id for _, device_id in devices],
        )
        return [(row["username"], row["device_id"]) for row in rows]

    async def fail_orphans(self) -> int:
        """Fails what is overdue of devices that may have no stream any more; gives how many devices that were."""
        rows = await self._database.fetch(_LIST_ORPHANED, _ORPHAN_SECONDS, _ORPHANS)
        for row in rows:
            await self.claim(row["username"], row["device_id"], [], [])
        return len(rows)


def _to_settlement(row: asyncpg.Record) -> Settlement:
    return Settlement(row["is_found"], row["is_dead"], row["is_member"], row["claimed_seq"])
