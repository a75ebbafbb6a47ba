"""Who is online, in Redis: one entry a session, with an expiry that its worker pushes on.

A user is online while any session's entry lives. A worker that dies takes its users' entries with it, SESSION_SECONDS
later at most. When Redis was restarted empty, the workers' next refresh rebuilds it all. Clocks are Redis's own.
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
        self._touch, self._leave, self._read = (
            redis.register_script((scripts / f"{name}.lua").read_text()) for name in ("touch", "leave", "read")
        )

    async def write(
        self, alive: Mapping[str, Sequence[str]], gone: Mapping[str, Sequence[str]]
    ) -> dict[str, PresenceRecord]:
        """Pushes on the expiry of sessions, then takes others away; one pipeline. Gives the users who changed, as now.

        Args:
            alive: by user, the ids of sessions that are open, new or not.
            gone: by user, those of sessions that ended; one that is not known does no harm.

        Raises:
            Unavailable: Redis is.
        """
        calls = [(self._touch, name, [SESSION_SECONDS * 1000, *sessions]) for name, sessions in alive.items()]
        calls += [(self._leave, name, list(sessions)) for name, sessions in gone.items()]
        answers = await self._run(calls)
        came = [name for name, was_offline in zip(alive, answers[: len(alive)], strict=True) if was_offline]
        changed = {name: PresenceRecord(True, None) for name in came}
        for name, seen in zip(gone, answers[len(alive) :], strict=True):
            if seen:
                changed[name] = PresenceRecord(False, _to_time(seen))
        return changed

    async def read(self, usernames: Sequence[str]) -> dict[str, PresenceRecord]:
        """Reads presence; one pipeline.

        Raises:
            Unavailable: Redis is.
        """
        answers = await self._run([(self._read, name, []) for name in usernames])
        return {
            name: PresenceRecord(bool(is_online), _to_time(seen) if seen else None)
            for name, (is_online, seen) in zip(usernames, answers, strict=True)
        }

    async def _run(self, calls: Sequence[tuple[AsyncScript, str, Sequence[Any]]]) -> list[Any]:
        if not calls:
            return []
        self.pipeline_count += 1
        try:
            # Left by `async with`, so that one that is cancelled half-way has nothing in it.
            async with asyncio.timeout(_TIMEOUT_SECONDS), self._redis.pipeline(transaction=False) as pipeline:
                for script, username, args in calls:
                    keys = [f"{self._prefix}:online:{{{username}}}", f"{self._prefix}:seen:{{{username}}}"]
                    await script(keys=keys, args=args, client=pipeline)
                return list(await pipeline.execute())
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"redis: {type(error).__name__}: {error}") from error


def _to_time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
