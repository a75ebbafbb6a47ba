"""Who is online, in Redis: sessions under the name of their writer, and when each writer was last alive (ADR 12).

A user is online while a session stands under a writer that is alive; so streams that do nothing cost one beat a worker
and not a write a user. A worker that dies takes its users with it, SESSION_SECONDS later at most. Whenever Redis may
hold something else than a writer believes (a call failed, Redis was restarted empty, a replica took over that had not
heard all, the clock was set), the writer takes a new name and its worker writes all sessions anew; what stood under the
old one dies. Until all workers have had the time for that, nobody is taken for offline. Clocks are Redis's own.

Users are divided into partitions by their names. What belongs to one has a common hash tag, so a Redis Cluster keeps it
in one slot, and the partitions are spread over its nodes. Each is whole in itself: a writer beats in all of them.
"""

import asyncio
import secrets
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from storage.errors import Unavailable
from storage.redis.calls import Call, Script, read_scripts
from storage.redis.servers import Servers
from storage.redis.troubles import explain

# A power of two, and far more than a cluster has nodes; each costs a beat every few seconds.
PARTITIONS = 16
# A name that no user has: what presence needs of Redis is tried on it with every beat.
_NOBODY = ""

# How long a writer counts as alive after its last beat.
SESSION_SECONDS = 12
# Shorter than a writer lives.
_MARK_SECONDS = 6.0
# Within this time every worker has written its sessions: twice as long as between two of them.
_SETTLE_SECONDS = 6.0
_TIMEOUT_SECONDS = 2.0
# Users of one call: half a millisecond of Redis, in which it does nothing else.
_USERS_A_CALL = 100


class _Call(NamedTuple):
    script: Script
    partition: int
    usernames: Sequence[str]
    args: Sequence[str | int]


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
        servers: Servers,
        *,
        namespace: str,
        mark_seconds: float = _MARK_SECONDS,
        settle_seconds: float = _SETTLE_SECONDS,
    ) -> None:
        self._servers = servers
        self._prefix = f"{namespace}:presence"
        self._common_args = [round(1000 * seconds) for seconds in (SESSION_SECONDS, mark_seconds, settle_seconds)]
        names = [f"presence_{name}" for name in ("begin", "beat", "touch", "leave", "read", "end")]
        self._scripts = read_scripts(*names, shared="presence")
        self._begin, self._beat, self._touch, self._leave, self._read, self._end = self._scripts
        self.pipeline_count = 0
        self.renew()

    def renew(self) -> None:
        """Takes a new name; what was written under the old one counts until it dies, since it beats no more."""
        self.writer = secrets.token_hex(8)
        self._has_begun = False
        self._write_counts: Counter[int] = Counter()  # by partition, calls that brought changes; Redis counts them, too

    async def write(
        self, alive: Mapping[str, Sequence[str]], gone: Mapping[str, Sequence[str]]
    ) -> dict[str, PresenceRecord]:
        """Notes sessions, then takes others away; one round trip. Gives the users who changed, as now.

        As long as it is not known who is offline, those who left are not among them.

        Args:
            alive: by user, the ids of sessions that are open, new or not.
            gone: by user, those of sessions that ended; one that is not known does no harm.

        Raises:
            Unavailable: Redis is; the writer has a new name.
        """
        calls = self._session_calls(self._touch, alive) + self._session_calls(self._leave, gone)
        changes: dict[str, PresenceRecord] = {}
        for call, answer in zip(calls, await self._change(calls), strict=True):
            for name, changed in zip(call.usernames, answer, strict=True):
                if changed:
                    is_online = call.script is self._touch
                    changes[name] = PresenceRecord(is_online, None if is_online else _to_time(changed))
        return {name: changes[name] for name in dict.fromkeys([*alive, *gone]) if name in changes}

    async def beat(self) -> bool:
        """Says that this writer is alive and that all its sessions are written; tries all that presence needs.

        Returns False if Redis has lost what was written under this writer's name; the writer has a new name then.

        Raises:
            Unavailable: Redis is, or refuses something; the writer has a new name.
        """
        beats = [_Call(self._beat, nth, (), [self.writer, self._write_counts[nth]]) for nth in range(PARTITIONS)]
        answers = await self._change(beats + self._trials())
        is_right = all(answers[:PARTITIONS])
        if not is_right:
            self.renew()
        return is_right

    async def end(self) -> None:
        """Forgets this writer, who has taken all its sessions away.

        Raises:
            Unavailable: Redis is.
        """
        _to_answers(await self._run([_Call(self._end, nth, (), [self.writer]) for nth in range(PARTITIONS)]))

    async def read(self, usernames: Sequence[str]) -> dict[str, PresenceRecord | None]:
        """Reads presence; one round trip. None: not known, since Redis, or a node of it, was empty or away just now.

        Raises:
            Unavailable: Redis is.
        """
        records: dict[str, PresenceRecord | None] = dict.fromkeys(usernames)
        calls = [_Call(self._read, nth, part, ()) for nth, part in _in_parts(usernames)]
        answers = await self._run(calls)
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        if failures and len(failures) == len(answers):
            raise _to_unavailable(failures[0]) from failures[0]
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                continue
            is_settled = answer[0]
            for name, is_online, seen in zip(call.usernames, answer[1::2], answer[2::2], strict=True):
                record = PresenceRecord(bool(is_online), _to_time(seen) if seen else None)
                records[name] = record if is_online or is_settled else None
        return records

    def _trials(self) -> list[_Call]:
        """Calls of all that a beat does not need; they change nothing that anybody looks at."""
        nth = partition_of(_NOBODY)
        session = ["tried", "0"]  # of a writer that never is
        return [
            _Call(self._touch, nth, [_NOBODY], session),
            _Call(self._read, nth, [_NOBODY], ()),
            _Call(self._leave, nth, [_NOBODY], session),
        ]

    def _session_calls(self, script: Script, sessions: Mapping[str, Sequence[str]]) -> list[_Call]:
        """Calls that bring sessions: the writer's name, then for each user the ids, joined by spaces."""
        return [
            _Call(script, nth, part, [self.writer, *(" ".join(sessions[name]) for name in part)])
            for nth, part in _in_parts(list(sessions))
        ]

    async def _change(self, calls: list[_Call]) -> list[Any]:
        """Makes calls of this writer, which begins with the first of them; its name is a new one if they fail."""
        if not calls:
            return []
        beginning: list[_Call] = []
        if not self._has_begun:
            beginning = [_Call(self._begin, nth, (), [self.writer]) for nth in range(PARTITIONS)]
        try:
            answers = _to_answers(await self._run(beginning + calls))
        except BaseException:
            self.renew()  # some of them may have been made
            raise
        self._has_begun = True
        self._write_counts.update(
            call.partition
            for call in calls
            if call.script in (self._touch, self._leave) and call.usernames != [_NOBODY]
        )
        return answers[len(beginning) :]

    async def _run(self, calls: Sequence[_Call]) -> list[Any]:
        """Makes calls, those of a partition in order; gives for each its answer, or the error that ended its partition.

        Raises:
            Unavailable: nothing was answered.
        """
        if not calls:
            return []
        self.pipeline_count += 1
        groups: dict[int, list[int]] = {}
        for nth, call in enumerate(calls):
            groups.setdefault(call.partition, []).append(nth)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                outcomes = await self._servers.run([[self._to_call(calls[nth]) for nth in g] for g in groups.values()])
        except (RedisError, OSError, TimeoutError) as error:
            raise _to_unavailable(error) from error
        answers: list[Any] = [None] * len(calls)
        for group, outcome in zip(groups.values(), outcomes, strict=True):
            for at, nth in enumerate(group):
                answers[nth] = outcome if isinstance(outcome, Exception) else outcome[at]
        return answers

    def _to_call(self, call: _Call) -> Call:
        names = ["mark", "beats", "writes", *(f"of:{name}" for name in call.usernames)]
        keys = [f"{{{self._prefix}:{call.partition}}}:{name}" for name in names]
        return Call(call.script, self._scripts, keys, [*self._common_args, *call.args])


def partition_of(username: str) -> int:
    """The partition that a user's presence belongs to."""
    return zlib.crc32(username.encode()) % PARTITIONS


def _in_parts(usernames: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Divides users into parts of one partition, of what one call may hold."""
    by_partition: dict[int, list[str]] = {}
    for name in usernames:
        by_partition.setdefault(partition_of(name), []).append(name)
    return [
        (nth, names[first : first + _USERS_A_CALL])
        for nth, names in by_partition.items()
        for first in range(0, len(names), _USERS_A_CALL)
    ]


def _to_answers(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            raise _to_unavailable(answer) from answer
    return answers


def _to_unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"redis: {explain(error)}")


def _to_time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
