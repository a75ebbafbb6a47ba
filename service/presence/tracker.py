"""Presence on this worker: tells watchers about others, and keeps its own sessions online (`presence_writer.py`).

Changes are announced over the bus and, since that may lie, compared every REFRESH_SECONDS for everybody who is watched.
While Redis is away everybody who is watched is UNKNOWN; so is, for a moment after it came back, who is not online.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from parley.v1 import chat_pb2, presence_pb2

from service.convert.timestamps import to_timestamp
from service.delivery.bus_messages import (
    PRESENCE,
    PresenceChanged,
    presence_channel,
    publish_nowait,
    subscribed_names,
)
from service.delivery.session import Session
from service.presence.writer import PresenceWriter
from storage.errors import Unavailable
from storage.redis.bus import Bus
from storage.redis.presence import PresenceRecord, PresenceStore

_log = structlog.get_logger(__name__)

REFRESH_SECONDS = 3.0
# What was refreshed this long ago proves nothing any more: some refreshes, with all their time limits.
_ALIVE_SECONDS = 15.0
# Gives those of some users who share a conversation with a user.
SharedWith = Callable[[str, Sequence[str]], Awaitable[set[str]]]
# Gives those of users' membership versions that are not what is known of them.
ChangedVersions = Callable[[Mapping[str, int]], Awaitable[dict[str, int]]]


class PresenceTracker:
    """Presence as this worker's sessions make it and see it."""

    def __init__(
        self, store: PresenceStore, bus: Bus, shared_with: SharedWith, changed_versions: ChangedVersions
    ) -> None:
        self._store = store
        self._bus = bus
        self._shared_with = shared_with
        self._changed_versions = changed_versions
        self.writer = PresenceWriter(store, self._announce)
        self._watchers: dict[str, set[Session]] = {}
        self._watched: dict[Session, set[str]] = {}
        self._known: dict[str, PresenceRecord | None] = {}
        # Of those who watch or are watched, as of the last look whether they share something; -1: look again.
        self._versions: dict[str, int] = {}
        self._refresh_time = float("-inf")  # of the last one that succeeded, monotonic seconds

    @property
    def is_alive(self) -> bool:
        """Whether Redis took presence, and gave it, at the last refresh."""
        return time.monotonic() - self._refresh_time < _ALIVE_SECONDS

    async def arrive(self, session: Session) -> None:
        """Notes an open stream; on return its user is online, unless Redis is away or slow."""
        await self.writer.arrive(session)

    async def depart(self, session: Session) -> None:
        """Notes that a stream ended."""
        self._unwatch(session)
        self._watched.pop(session, None)
        await self.writer.depart(session)

    async def read(self, reader: str, usernames: Sequence[str]) -> list[tuple[str, PresenceRecord | None]]:
        """Reads the presence of those whom a user may see, in the order given; None: not known now.

        Raises:
            Unavailable: the database is, so that it can't be told who may be seen.
        """
        wanted = list(dict.fromkeys(usernames))
        visible = await self._shared_with(reader, [name for name in wanted if name != reader]) | {reader}
        shown = [name for name in wanted if name in visible]
        try:
            records = await self._store.read(shown)
        except Unavailable:
            return [(name, None) for name in shown]
        return [(name, records[name]) for name in shown]

    async def watch(self, session: Session, usernames: Sequence[str], correlation_id: int) -> None:
        """Sends a session the presence of users, now and whenever it changes, in place of the users watched before.

        Raises:
            Unavailable: the database is.
        """
        versions = await self._changed_versions(dict.fromkeys([*usernames, session.username], -1))
        records = await self.read(session.username, usernames)
        for name, version in versions.items():  # what changed since they were read must still differ
            self._versions[name] = min(version, self._versions.get(name, version))
        self._unwatch(session)
        names = [name for name, _ in records]
        self._watched[session] = set(names)
        for name, record in records:
            self._tell(name, record)  # those who watch already may have missed it
            self._watchers.setdefault(name, set()).add(session)
            self._known[name] = record
        await self._bus.subscribe(map(presence_channel, names))
        for name, record in records:
            now_known = self._known.get(name, record)  # a change may have come since it was read
            session.outbox.put_ephemeral(("presence", name), encode_event(name, now_known, correlation_id))

    def take(self, message: PresenceChanged) -> None:
        """Takes what another worker published of a user."""
        self._tell(message.username, message.record)

    async def run(self) -> None:
        """Refreshes and compares until it is cancelled."""
        told = ""  # once is enough for the log
        while True:
            try:
                await self._refresh()
                self._refresh_time = time.monotonic()
                if told:
                    _log.warning("presence back")
                    told = ""
            except Unavailable as error:
                self._refresh_time = float("-inf")
                if str(error) != told:
                    _log.warning("presence unknown", error=str(error))
                told = str(error)
            await asyncio.sleep(REFRESH_SECONDS)

    async def _refresh(self) -> None:
        """Writes this worker's part, and compares; of a part of Redis that is away, the rest is compared all the same.

        Raises:
            Unavailable: Redis is, or a part of it.
        """
        try:
            await self.writer.refresh()
        except Unavailable:
            await self._compare(is_written=False)
            raise
        await self._compare(is_written=True)

    async def _compare(self, *, is_written: bool) -> None:
        """Sends the watchers what differs from what they were sent last.

        Args:
            is_written: Redis has this worker's sessions, so that their users are online for everybody. Else Redis is
                asked for them, too: what it can't tell is unknown.
        """
        here = [username for username in self._watchers if is_written and self.writer.has(username)]
        for username in here:
            self._tell(username, PresenceRecord(True, None))
        elsewhere = list(self._watchers.keys() - here)
        records: dict[str, PresenceRecord | None] = dict.fromkeys(elsewhere)
        try:
            records = await self._store.read(elsewhere)
        finally:
            for username, record in records.items():
                self._tell(username, record)

    def _announce(self, username: str, record: PresenceRecord) -> None:
        self._tell(username, record)
        publish_nowait(self._bus, PresenceChanged(username, record))

    def _tell(self, username: str, record: PresenceRecord | None) -> None:
        """Notifies the watchers of a change; a new time alone is no change."""
        watchers = self._watchers.get(username)
        if not watchers:
            return
        known = self._known.get(username)
        self._known[username] = record
        if (known is None) == (record is None) and (known is None or record is None):
            return
        if known is not None and record is not None and known.is_online == record.is_online:
            return
        body = encode_event(username, record, 0)
        for session in watchers:
            session.outbox.put_ephemeral(("presence", username), body)

    def _unwatch(self, session: Session) -> None:
        for name in self._watched.get(session, ()):
            self._stop_watching(session, name)

    def _stop_watching(self, session: Session, name: str) -> None:
        watchers = self._watchers.get(name)
        if watchers is not None:
            watchers.discard(session)
            if not watchers:
                del self._watchers[name]
                self._known.pop(name, None)

    async def recheck(self) -> None:
        """Ends watches of users who share no conversation with their watcher any more.

        One statement, and one for each watch whose users' memberships have changed.

        Raises:
            Unavailable: the database is.
        """
        names = self._watchers.keys() | {session.username for session in self._watched}
        known = {name: self._versions.get(name, -1) for name in names}
        changed = await self._changed_versions(known) if known else {}
        moved = changed.keys()
        touched = [
            session
            for session, watched in self._watched.items()
            if session.username in moved or not watched.isdisjoint(moved)
        ]
        self._versions = known | changed
        try:
            for session in touched:
                await self._recheck_of(session)
        except BaseException:
            self._versions.update(dict.fromkeys(changed, -1))
            raise

    async def _recheck_of(self, session: Session) -> None:
        others = [name for name in self._watched.get(session, ()) if name != session.username]
        if not others:
            return
        gone = set(others) - await self._shared_with(session.username, others)
        for name in gone & self._watched.get(session, set()):
            self._watched[session].discard(name)
            self._stop_watching(session, name)

    async def drop_unwatched(self) -> None:
        """Ends the subscriptions to users whom nobody here watches any more."""
        gone = [name for name in subscribed_names(self._bus, PRESENCE) if name not in self._watchers]
        await self._bus.unsubscribe(map(presence_channel, gone))


def to_presence(username: str, record: PresenceRecord | None) -> presence_pb2.Presence:
    """A user's presence as clients see it."""
    if record is None:
        return presence_pb2.Presence(username=username, state=presence_pb2.PRESENCE_STATE_UNKNOWN)
    state = presence_pb2.PRESENCE_STATE_ONLINE if record.is_online else presence_pb2.PRESENCE_STATE_OFFLINE
    presence = presence_pb2.Presence(username=username, state=state)
    if record.last_seen_time is not None:
        presence.last_seen_time.CopyFrom(to_timestamp(record.last_seen_time))
    return presence


def encode_event(username: str, record: PresenceRecord | None, correlation_id: int) -> bytes:
    """Bytes of a ChatResponse with one presence event."""
    event = presence_pb2.PresenceEvent(correlation_id=correlation_id, presence=to_presence(username, record))
    return chat_pb2.ChatResponse(presence=[event]).SerializeToString()
