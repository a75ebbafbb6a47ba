"""Who is online, in Redis: sessions under the name of their writer, and when each writer was last alive (ADR 12).

A user is online while a session stands under a writer that is alive; so streams that do nothing cost one beat a worker
and not a write a user. A worker that dies takes its users with it, SESSION_SECONDS later at most. Whenever Redis may
hold something else than a writer believes (a call failed, Redis was restarted empty, a replica took over that had not
heard all, the clock was set), the writer takes a new name and its worker writes all sessions anew; what stood under the
old one dies. Until all workers have had the time for that, nobody is taken for offline. Clocks are Redis's own.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from storage.errors import Unavailable

# How long a writer counts as alive after its last beat.
SESSION_SECONDS = 12
# Shorter than a writer lives.
_MARK_SECONDS = 6.0
# Within this time every worker has written its sessions: twice as long as between two of them.
_SETTLE_SECONDS = 6.0
_TIMEOUT_SECONDS = 2.0
# Users of one call: half a millisecond of Redis, in which it does nothing else.
_USERS_A_CALL = 100

_Call = tuple[AsyncScript, Sequence[str], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class PresenceRecord:
    """A user's presence; last_seen_time is None for one who never was online."""

    is_online: bool
    last_seen_time: datetime | None


class PresenceStore:
    """Presence of all users, and one writer's sessions.

    Args:
        namespace: begins every key.
        mark_seconds: how long beats may stay away without a break.
        settle_seconds: how long nobody is taken for offline after the first beat.

    Attributes:
        writer: the name under which sessions are written now. When it has changed, all are to be written anew.
    """

    def __init__(
        self,
        redis: "Redis",
        *,
        namespace: str,
        mark_seconds: float = _MARK_SECONDS,
        settle_seconds: float = _SETTLE_SECONDS,
    ) -> None:
        self._redis = redis
        self._prefix = f"{namespace}:presence"
        self._common_args = [round(1000 * seconds) for seconds in (SESSION_SECONDS, mark_seconds, settle_seconds)]
        scripts = resources.files("storage.redis") / "scripts"
        shared = (scripts / "presence.lua").read_text()
        self._begin, self._beat, self._touch, self._leave, self._read, self._end = (
            redis.register_script(shared + (scripts / f"presence_{name}.lua").read_text())
            for name in ("begin", "beat", "touch", "leave", "read", "end")
        )
        self.pipeline_count = 0
        self.renew()

    def renew(self) -> None:
        """Takes a new name; what was written under the old one counts until it dies, since it beats no more."""
        self.writer = secrets.token_hex(8)
        self._has_begun = False
        self._write_count = 0  # calls since then that brought changes; Redis counts them, too

    async def write(
        self, alive: Mapping[str, Sequence[str]], gone: Mapping[str, Sequence[str]]
    ) -> dict[str, PresenceRecord]:
        """Notes sessions, then takes others away; one pipeline. Gives the users who changed, as now.

        As long as it is not known who is offline, those who left are not among them.

        Args:
            alive: by user, the ids of sessions that are open, new or not.
            gone: by user, those of sessions that ended; one that is not known does no harm.

        Raises:
            Unavailable: Redis is; the writer has a new name.
        """
        calls: list[_Call] = [
            (script, part, [self.writer, *(" ".join(sessions[name]) for name in part)])
            for script, sessions in ((self._touch, alive), (self._leave, gone))
            for part in _in_parts(list(sessions))
        ]
        answers = [changed for answer in await self._change(calls) for changed in answer]
        changes = {name: PresenceRecord(True, None) for name, came in zip(alive, answers, strict=False) if came}
        for name, left in zip(gone, answers[len(alive) :], strict=True):
            if left:
                changes[name] = PresenceRecord(False, _to_time(left))
        return changes

    async def beat(self) -> bool:
        """Says that this writer is alive and that all its sessions are written.

        Gives False if Redis does not hold what was written under this name; then the writer has a new one.

        Raises:
            Unavailable: Redis is; the writer has a new name.
        """
        (is_right,) = await self._change([(self._beat, (), [self.writer, self._write_count])])
        if not is_right:
            self.renew()
        return bool(is_right)

    async def end(self) -> None:
        """Forgets this writer, who has taken all its sessions away.

        Raises:
            Unavailable: Redis is.
        """
        await self._run([(self._end, (), [self.writer])])

    async def read(self, usernames: Sequence[str]) -> dict[str, PresenceRecord | None]:
        """Reads presence; one pipeline. None: not known, since Redis was empty or away a moment ago.

        Raises:
            Unavailable: Redis is.
        """
        parts = _in_parts(usernames)
        records: dict[str, PresenceRecord | None] = {}
        for part, answer in zip(parts, await self._run([(self._read, part, ()) for part in parts]), strict=True):
            is_settled = answer[0]
            for name, is_online, seen in zip(part, answer[1::2], answer[2::2], strict=True):
                record = PresenceRecord(bool(is_online), _to_time(seen) if seen else None)
                records[name] = record if is_online or is_settled else None
        return records

    async def _change(self, calls: list[_Call]) -> list[Any]:
        """Makes calls of this writer, which begins with the first of them; its name is a new one if they fail."""
        if not calls:
            return []
        beginning: list[_Call] = [] if self._has_begun else [(self._begin, (), [self.writer])]
        try:
            answers = await self._run(beginning + calls)
        except BaseException:
            self.renew()  # some of them may have been made
            raise
        self._has_begun = True
        self._write_count += sum(script is not self._beat for script, _, _ in calls)
        return answers[len(beginning) :]

    async def _run(self, calls: Sequence[_Call]) -> list[Any]:
        """Makes calls in one pipeline: (script, users, its own arguments)."""
        if not calls:
            return []
        self.pipeline_count += 1
        common_keys = [f"{self._prefix}:{name}" for name in ("mark", "beats", "writes")]
        try:
            # Left by `async with`, so that one that is cancelled half-way has nothing in it.
            async with asyncio.timeout(_TIMEOUT_SECONDS), self._redis.pipeline(transaction=False) as pipeline:
                for script, usernames, args in calls:
                    keys = [*common_keys, *(f"{self._prefix}:of:{name}" for name in usernames)]
                    await script(keys=keys, args=[*self._common_args, *args], client=pipeline)
                return list(await pipeline.execute())
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"redis: {type(error).__name__}: {error}") from error


def _in_parts(usernames: Sequence[str]) -> list[Sequence[str]]:
    return [usernames[first : first + _USERS_A_CALL] for first in range(0, len(usernames), _USERS_A_CALL)]


def _to_time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
