"""Cursors of devices, and the reads that a stream makes when it opens.

A cursor is the last seq that a device acknowledged in a conversation. Cursors never go back. Rows are written in the
order of their keys, so that two writers never deadlock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.postgres.connections.database import Database
from storage.postgres.log.live_conversations import JOIN_LIVE_CONVERSATIONS
from storage.records import SubscriptionStart


@dataclass(frozen=True, slots=True)
class Ack:
    """One device has all of a conversation up to seq."""

    username: str
    device_id: str
    conversation_id: str
    seq: int


# IN a subquery is looked up in a hash; = ANY would compare each membership with ten thousand names one by one.
_ATTEND = f"""
SELECT m.conversation_id, m.role > 0 AS is_member,
       visible_end(m.visible, c.last_seq) AS last_seq,
       coalesce(k.acked_seq, m.start_seq) AS start_seq, coalesce(k.epoch, 0) AS cursor_epoch,
       coalesce((SELECT lower(part) FROM unnest(m.visible) AS part ORDER BY part DESC LIMIT 1), 1) AS floor_seq
FROM members m {JOIN_LIVE_CONVERSATIONS}
LEFT JOIN cursors k ON k.username = m.username AND k.device_id = $2 AND k.conversation_id = m.conversation_id
WHERE m.username = $1 AND ($3::text[] IS NULL OR m.conversation_id IN (SELECT unnest($3)))
  AND (m.role > 0 OR $5 OR m.conversation_id IN (SELECT unnest($4::text[]))
       OR coalesce(k.acked_seq, m.start_seq) < visible_end(m.visible, c.last_seq))"""


class Cursors:
    """Cursors, and the devices that have them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enroll_device(
        self, username: str, device_id: str, *, max_devices: int, starts_at_latest: bool = False
    ) -> bool:
        """Notes that a device is in use; returns False when the user has too many others.

        A device that is seen for the first time gets its user's read positions as cursors, so that it begins there
        also when it leaves without an ack. Devices unused for 90 days make room, unless a stream of them is open. One
        statement when it is known.

        Args:
            starts_at_latest: where it would begin at a read position it begins at the end.
        """
        known = await self._database.fetchval(
            "UPDATE devices SET last_use_time = clock_timestamp()"
            " WHERE username = $1 AND device_id = $2 RETURNING true",
            username,
            device_id,
        )
        if known:
            return True
        async with self._database.transaction() as connection:
            # The user's row serializes the count against another new device.
            await connection.execute("SELECT 1 FROM users WHERE username = $1 FOR NO KEY UPDATE", username)
            await connection.execute(
                """WITH old AS (
                    DELETE FROM devices d
                    WHERE d.username = $1 AND d.last_use_time < clock_timestamp() - interval '90 days'
                      AND NOT EXISTS (SELECT 1 FROM open_streams s
                                      WHERE s.username = d.username AND s.device_id = d.device_id)
                    RETURNING d.device_id
                ), settled AS (
                    DELETE FROM deliveries d USING old WHERE d.username = $1 AND d.device_id = old.device_id
                ), forgotten AS (
                    DELETE FROM dead_letters l USING old WHERE l.username = $1 AND l.device_id = old.device_id
                ) DELETE FROM cursors k USING old WHERE k.username = $1 AND k.device_id = old.device_id""",
                username,
            )
            count = await connection.fetchval(
                "SELECT count(*) FROM devices WHERE username = $1 AND device_id <> $2", username, device_id
            )
            if count >= max_devices:
                return False
            made = await connection.fetchval(
                "INSERT INTO devices (username, device_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
                username,
                device_id,
            )
            if made:
                await connection.execute(
                    """INSERT INTO cursors (username, device_id, conversation_id, acked_seq, epoch)
                       SELECT m.username, $2, m.conversation_id,
                              CASE WHEN $3 AND m.role > 0 THEN c.last_seq ELSE m.read_seq END, d.epoch
                       FROM members m JOIN conversations c USING (conversation_id) CROSS JOIN deployment d
                       WHERE m.username = $1 AND m.read_seq > m.start_seq
                       ORDER BY m.conversation_id
                       ON CONFLICT DO NOTHING""",
                    username,
                    device_id,
                    starts_at_latest,
                )
        return True

    async def list_subscription_starts(
        self,
        username: str,
        device_id: str,
        *,
        only: Sequence[str] | None = None,
        also_former: Sequence[str] = (),
        has_all_former: bool = False,
    ) -> list[SubscriptionStart]:
        """Lists the user's conversations with where they end and where this device begins; one statement.

        Former memberships of which this device lacks something are in it: their last seq is that of the entry that
        removed the user.

        Args:
            only: these alone; None: all.
            also_former: former memberships that are listed also when the device lacks nothing.
            has_all_former: all of them are.
        """
        rows = await self._database.fetch(
            _ATTEND,
            username,
            device_id,
            None if only is None else list(only),
            list(also_former),
            has_all_former,
        )
        return [
            SubscriptionStart(
                row["conversation_id"],
                row["last_seq"],
                row["start_seq"],
                row["cursor_epoch"],
                row["floor_seq"],
                row["is_member"],
            )
            for row in rows
        ]

    async def read_memberships(self, username: str) -> tuple[int, list[str]]:
        """Reads what the user is a member of now; one statement.

        Returns:
            The number that grows with each change of that (0 when there is no such user), and the conversations.
        """
        row = await self._database.fetchrow(
            f"""SELECT coalesce((SELECT u.membership_version FROM users u WHERE u.username = $1), 0) AS version,
                      ARRAY(SELECT m.conversation_id FROM members m {JOIN_LIVE_CONVERSATIONS}
                            WHERE m.username = $1 AND m.role > 0) AS conversation_ids""",
            username,
        )
        assert row is not None  # of a statement without FROM
        return row["version"], row["conversation_ids"]

    async def last_seqs(self, conversation_ids: Sequence[str]) -> dict[str, int]:
        """Reads where logs end now; one statement."""
        rows = await self._database.fetch(
            "SELECT conversation_id, last_seq FROM conversations WHERE conversation_id = ANY ($1)",
            list(conversation_ids),
        )
        return {row["conversation_id"]: row["last_seq"] for row in rows}

    async def store_acks(
        self, acks: Sequence[Ack], *, epoch: int | None = None, known_epoch: int | None = None
    ) -> set[tuple[str, str]]:
        """Stores acks, none of which goes back, also not before where a device without cursor begins; one statement.

        A stored ack of an earlier epoch counts up to where the logs are the same: a worker of that epoch may have
        stored it after the restore, for an entry that another one has replaced.

        Args:
            epoch: what they are of; nothing is stored when the database has gone on to another one. None: the present.
            known_epoch: the last one that their devices know of, where that is an earlier one: they are still to be
                told of the other. None: the present.

        Returns:
            (conversation, user) of the acks that moved a cursor.
        """
        highest: dict[tuple[str, str, str], int] = {}
        for ack in acks:
            key = (ack.username, ack.device_id, ack.conversation_id)
            highest[key] = max(ack.seq, highest.get(key, 0))
        ordered = sorted(highest.items())
        rows = await self._database.fetch(
            """INSERT INTO cursors AS k (username, device_id, conversation_id, acked_seq, epoch)
               SELECT a.username, a.device_id, a.conversation_id, greatest(a.seq, m.start_seq),
                      coalesce($6, d.epoch)
               FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
                    WITH ORDINALITY AS a(username, device_id, conversation_id, seq, ord)
               JOIN members m ON m.conversation_id = a.conversation_id AND m.username = a.username
               JOIN deployment d ON $5::bigint IS NULL OR d.epoch = $5
               ORDER BY a.ord
               ON CONFLICT (username, device_id, conversation_id)
               DO UPDATE SET acked_seq = greatest(excluded.acked_seq, CASE
                     WHEN k.epoch >= excluded.epoch THEN k.acked_seq
                     ELSE (SELECT least(k.acked_seq, CASE WHEN count(r.epoch) = count(e.epoch)
                                                          THEN min(r.last_seq) ELSE 0 END)
                           FROM epochs e
                           LEFT JOIN restores r ON r.conversation_id = k.conversation_id AND r.epoch = e.epoch
                           WHERE e.epoch > k.epoch AND e.epoch <= excluded.epoch) END),
                             epoch = greatest(k.epoch, excluded.epoch)
               WHERE k.acked_seq < excluded.acked_seq OR k.epoch < excluded.epoch
               RETURNING k.conversation_id, k.username""",
            [key[0] for key, _ in ordered],
            [key[1] for key, _ in ordered],
            [key[2] for key, _ in ordered],
            [seq for _, seq in ordered],
            epoch,
            known_epoch,
        )
        return {(row["conversation_id"], row["username"]) for row in rows}

    async def membership_versions(self, usernames: Sequence[str]) -> dict[str, int]:
        """Reads the numbers that grow with each change of what the users are members of; one statement."""
        rows = await self._database.fetch(
            "SELECT username, membership_version FROM users WHERE username = ANY ($1)", list(usernames)
        )
        return {row["username"]: row["membership_version"] for row in rows}

    async def changed_versions(self, known: Mapping[str, int]) -> dict[str, int]:
        """Reads those of users' membership versions that are not what is known of them; one statement."""
        rows = await self._database.fetch(
            """SELECT u.username, u.membership_version
               FROM unnest($1::text[], $2::bigint[]) AS known(username, version) JOIN users u USING (username)
               WHERE u.membership_version <> known.version""",
            list(known),
            list(known.values()),
        )
        return {row["username"]: row["membership_version"] for row in rows}
