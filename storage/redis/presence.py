"""Who is online, in Redis: one entry a session, with an expiry that its worker pushes on.

A user is online while any session's entry lives. A worker that dies takes its users' entries with it, SESSION_SECONDS
later at most. When Redis was restarted empty, or out of reach until entries expired, the workers' next refresh rebuilds
it all; until then nobody is taken for offline: a mark that the refreshes keep alive says since when they have come
without a break. Clocks are Redis's own.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from storage.errors import Unavailable

# How long a session counts after its last refresh.
SESSION_SECONDS = 12
# How long the mark of the refreshes lives without one: shorter than any entry that was written with it.
_MARK_SECONDS = 6.0
# Within this time after the first refresh every worker has written its sessions: twice as long as between two of them.
_SETTLE_SECONDS = 6.0
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PresenceRecord:
    """A user's presence; last_seen_time is None for one who never was online."""

    is_online: bool
    last_seen_time: datetime | None


class PresenceStore:
    """Presence of all users.

    Args:
        prefix: the deployment id.
    """

    def __init__(self, redis: "Redis", *, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        scripts = resources.files("storage.redis") / "scripts"
        self.pipeline_count = 0
        self._touch, self._leave, self._read, self._mark = (
            redis.register_script((scripts / f"{name}.lua").read_text()) for name in ("touch", "leave", "read", "mark")
        )

    async def write(
        self, alive: Mapping[str, Sequence[str]], gone: Mapping[str, Sequence[str]], *, is_round: bool = False
    ) -> dict[str, PresenceRecord]:
        """Pushes on the expiry of sessions, then takes others away; one pipeline. Gives the users who changed, as now.

        As long as it is not known who is offline, those who left are not among them.

        Args:
            alive: by user, the ids of sessions that are open, new or not.
            gone: by user, those of sessions that ended; one that is not known does no harm.
            is_round: with this, all sessions of a worker have been written.

        Raises:
            Unavailable: Redis is.
        """
        calls = [(self._touch, name, [SESSION_SECONDS * 1000, *sessions]) for name, sessions in alive.items()]
        calls += [(self._leave, name, [int(_SETTLE_SECONDS * 1000), *sessions]) for name, sessions in gone.items()]
        if is_round:
            calls.append((self._mark, "", [int(_MARK_SECONDS * 1000)]))
        answers = await self._run(calls)
        came = [name for name, was_offline in zip(alive, answers[: len(alive)], strict=True) if was_offline]
        changed = {name: PresenceRecord(True, None) for name in came}
        for name, seen in zip(gone, answers[len(alive) :], strict=False):
            if seen:
                changed[name] = PresenceRecord(False, _to_time(seen))
        return changed

    async def read(self, usernames: Sequence[str]) -> dict[str, PresenceRecord | None]:
        """Reads presence; one pipeline. None: not known, since Redis was empty or away a moment ago.

        Raises:
            Unavailable: Redis is.
        """
        answers = await self._run([(self._read, name, [int(_SETTLE_SECONDS * 1000)]) for name in usernames])
        return {
            name: PresenceRecord(bool(is_online), _to_time(seen) if seen else None) if is_online or is_settled else None
            for name, (is_online, seen, is_settled) in zip(usernames, answers, strict=True)
        }

    async def _run(self, calls: Sequence[tuple[AsyncScript, str, Sequence[Any]]]) -> list[Any]:
        if not calls:
            return []
        self.pipeline_count += 1
        try:
            # Left by `async with`, so that one that is cancelled half-way has nothing in it.
            async with asyncio.timeout(_TIMEOUT_SECONDS), self._redis.pipeline(transaction=False) as pipeline:
                for script, username, args in calls:
                    keys = [
                        f"{self._prefix}:presence",
                        f"{self._prefix}:online:{{{username}}}",
                        f"{self._prefix}:seen:{{{username}}}",
                    ]
                    await script(keys=keys, args=args, client=pipeline)
                return list(await pipeline.execute())
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"redis: {type(error).__name__}: {error}") from error


def _to_time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
