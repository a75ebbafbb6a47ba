"""Which sessions of this worker are open, on its way to Redis; who watches whom is in `tracker.py`.

Sessions that come and go while one pipeline is under way become the next one, so that thousands that end at once take
a few round trips on one connection. What is written is where a session stands then: one that came and went in between
is only taken away, and a user whose other session came meanwhile never was offline. One pipeline at a time writes, so
what is announced of a user is in the order in which Redis took it.

When Redis is away, or too much waits, changes are dropped: then the next refresh writes all sessions under a new name,
and what still stands under the old one dies (`storage/redis/presence.py`).
"""

import asyncio
from collections.abc import Callable
from itertools import islice

import structlog

from service.delivery.batcher import Batcher
from service.delivery.session import Session
from storage.errors import Unavailable
from storage.redis.presence import PresenceRecord, PresenceStore

_log = structlog.get_logger(__name__)

# Sessions that are written by one pipeline; of a refresh, users.
MAX_BATCH = 500
# Sessions whose coming or going may wait to be written; more is dropped.
MAX_WAITING = 10_000
# Refreshes in which every user comes to be written anew, in case that Redis let go of some: one minute.
_REFRESHES_A_ROUND = 20
# How long a stream's begin and end wait for Redis: it takes a millisecond, or is away.
_WAIT_SECONDS = 0.5


class PresenceWriter:
    """The presence of this worker's sessions.

    Args:
        announce: called with a user and what the user is now, when that has changed.
    """

    def __init__(self, store: PresenceStore, announce: Callable[[str, PresenceRecord], None]) -> None:
        self._store = store
        self._announce = announce
        self._sessions: dict[str, set[Session]] = {}
        self._waiting: dict[Session, asyncio.Future[None]] = {}
        self._batcher = Batcher(self.flush)
        self._lock = asyncio.Lock()
        self._whole = ""  # the store's writer under which all sessions are known to be written
        self._to_rewrite: list[str] = []  # users whose turn in this round is still to come
        self._is_told_dropped = False  # once is enough for the log

    async def arrive(self, session: Session) -> None:
        """Notes an open stream; on return its user is online, unless Redis is away or slow."""
        self._sessions.setdefault(session.username, set()).add(session)
        await self._wait_written(session)

    async def depart(self, session: Session) -> None:
        """Notes that a stream ended, if it was noted as open; waits as `arrive`."""
        sessions = self._sessions.get(session.username)
        if sessions is None or session not in sessions:
            return
        sessions.discard(session)
        if not sessions:
            del self._sessions[session.username]
        await self._wait_written(session)

    def has(self, username: str) -> bool:
        """Whether a user has a stream open here."""
        return username in self._sessions

    async def run(self) -> None:
        """Writes what changes until it is cancelled."""
        await self._batcher.run()

    async def flush(self) -> None:
        """Writes what waits."""
        while self._waiting:
            async with self._lock:
                batch = {session: self._waiting.pop(session) for session in list(islice(self._waiting, MAX_BATCH))}
                try:
                    await self._write_batch(batch)
                    self._is_told_dropped = False
                except Unavailable as error:
                    batch |= self._waiting
                    self._waiting.clear()
                    if not self._is_told_dropped:
                        _log.warning("presence not written", count=len(batch), error=str(error))
                    self._is_told_dropped = True
                finally:
                    for written in batch.values():
                        written.set_result(None)

    async def refresh(self) -> None:
        """Says that this worker's sessions are alive, having written all of them if Redis may not have them.

        Else writes a part of them: what Redis let go of, out of memory or by hand, is there again in a minute.

        Raises:
            Unavailable: Redis is.
        """
        is_whole = await self._beat() or await self._beat()
        if is_whole:
            await self._rewrite(self._next_of_round())

    async def close(self) -> None:
        """Leaves nothing behind in Redis, when all sessions were seen to leave; otherwise they die."""
        if not self._sessions and self._whole == self._store.writer:
            try:
                await self._store.end()
            except Unavailable as error:
                _log.warning("presence not ended", error=str(error))

    async def _beat(self) -> bool:
        """Returns False when Redis has lost records of this worker."""
        writer = self._store.writer
        if writer != self._whole:
            await self._rewrite(list(self._sessions))
        async with self._lock:
            if self._store.writer != writer or not await self._store.beat():
                return False
        self._whole = writer
        return True

    async def _rewrite(self, usernames: list[str]) -> None:
        for first in range(0, len(usernames), MAX_BATCH):
            async with self._lock:
                part = usernames[first : first + MAX_BATCH]
                await self._write({name: self._entries(name) for name in part if name in self._sessions}, {})

    def _next_of_round(self) -> list[str]:
        """Returns the users whose turn it is to be written again."""
        if not self._to_rewrite:
            self._to_rewrite = list(self._sessions)
        count = -(-len(self._sessions) // _REFRESHES_A_ROUND)
        part, self._to_rewrite = self._to_rewrite[:count], self._to_rewrite[count:]
        return part

    def _entries(self, username: str) -> list[str]:
        return [_entry_name(session) for session in self._sessions[username]]

    async def _wait_written(self, session: Session) -> None:
        written = self._waiting.get(session)
        if written is None:
            if len(self._waiting) >= MAX_WAITING:
                self._store.renew()
                return
            written = self._waiting[session] = asyncio.get_running_loop().create_future()
            self._batcher.notify()
        await asyncio.wait([written], timeout=_WAIT_SECONDS)

    async def _write_batch(self, batch: dict[Session, asyncio.Future[None]]) -> None:
        alive: dict[str, list[str]] = {}
        gone: dict[str, list[str]] = {}
        for session in batch:
            is_open = session in self._sessions.get(session.username, ())
            (alive if is_open else gone).setdefault(session.username, []).append(_entry_name(session))
        await self._write(alive, gone)

    async def _write(self, alive: dict[str, list[str]], gone: dict[str, list[str]]) -> None:
        for username, record in (await self._store.write(alive, gone)).items():
            self._announce(username, record)


def _entry_name(session: Session) -> str:
    return f"{session.session_id:016x}"
