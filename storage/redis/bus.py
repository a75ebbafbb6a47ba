"""Publish and subscribe over Redis, as a hint that comes at once and may be lost.

Nothing here is reliable on purpose: what a subscriber misses is found again in PostgreSQL. A full or broken way out
drops what it has and counts it.

Channel names begin with the namespace: deployment, epoch and database. Each payload goes under a stamp, which says the
namespace again and who sent it:

    namespace, a digest of 8 bytes | worker id, a digest of 8 bytes | the payload

What is of another namespace, or of a worker that is none of this database, is dropped and counted. One channel is
common to all that have the deployment id: there workers say that they are there, so that a copy of the database is
noticed.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from storage.redis.publisher import Publisher
from storage.redis.servers import Servers
from storage.redis.subscriber import Subscriber
from storage.redis.troubles import explain, is_read_only

_log = structlog.get_logger(__name__)

# What may wait to be published, per worker; more is dropped, and the commit feed brings it.
MAX_QUEUED_BYTES = 32 * 1024 * 1024
_PIPELINE = 512
_BEAT_SECONDS = 1.0
# A connection on which nothing was heard for this long, not even the own beat, is taken for dead.
_SILENCE_SECONDS = 3.0
_RECONNECT_SECONDS = 0.2
_DIGEST_BYTES = 8


def digest(name: str) -> bytes:
    """What stands for a namespace or a worker id in a stamp: 8 bytes."""
    return hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where what comes over the bus goes. All three are called on the event loop and must not block.

    Attributes:
        take: called with (channel without the namespace, payload).
        take_common: called with what comes on the common channel, also from workers of another database.
        reconnected: called after each (re)connection of the subscriber; what was published before it is lost.
    """

    take: Callable[[str, bytes], None]
    take_common: Callable[[bytes], None]
    reconnected: Callable[[], None]


@dataclass(slots=True, eq=False)
class _Confirmations:
    """Those that one call of `subscribe` waits for: one future for all of them, also when they are thousands."""

    missing_count: int
    all_came: "asyncio.Future[None]"

    def take_one(self) -> None:
        """Notes that one came."""
        self.missing_count -= 1
        if not self.missing_count and not self.all_came.done():
            self.all_came.set_result(None)


class Bus:
    """One worker's connection to the bus.

    Args:
        servers: where it is; the bus holds two connections.
        namespace: begins every channel but the common one.
        common: the name of the channel that is common to all that have the deployment id.
        worker_id: names this worker; its beat goes over a channel of its own.
        is_peer: whether a worker, given by the digest of its id, is one of this database. Asked for every message.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        namespace: str,
        common: str,
        worker_id: str,
        is_peer: Callable[[bytes], bool],
    ) -> None:
        self._servers = servers
        self._subscriber = Subscriber(servers)
        self._prefix = f"{namespace}:"
        self._common = common
        self._namespace = digest(namespace)
        self._stamp = self._namespace + digest(worker_id)
        self._publisher = Publisher(servers, stamp=self._stamp)
        self._is_peer = is_peer
        self._beat_channel = f"beat:{worker_id}"
        self._channels: set[str] = set()
        self._confirmed: set[str] = set()
        self._waiting: dict[str, list[_Confirmations]] = {}
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._is_connected = False
        self._told_lost = ""  # why, as it was told; once is enough for the log
        self._told_dropped = ""
        self._last_beat = float("-inf")
        self._heard_time = 0.0  # when something came last, on the event loop's clock
        self._silence_timer: asyncio.TimerHandle
        self.published_count = 0
        self.dropped_count = 0
        self.received_count = 0
        self.foreign_count = 0  # messages of another namespace or database
        self.beat_count = 0
        self.beat_lag_seconds = 0.0

    @property
    def queued_count(self) -> int:
        """How many messages wait to be published."""
        return len(self._queue)

    @property
    def is_alive(self) -> bool:
        """Whether the bus carried this worker's own beat lately."""
        return time.monotonic() - self._last_beat < _SILENCE_SECONDS

    def channels(self, prefix: str) -> list[str]:
        """Lists the subscribed channels whose names begin so."""
        return [channel for channel in self._channels if channel.startswith(prefix)]

    def publish_nowait(self, channel: str, payload: bytes) -> None:
        """Queues a message; the oldest ones are dropped when too much waits."""
        self._queue_nowait(self._prefix + channel, payload)

    def announce_nowait(self, payload: bytes) -> None:
        """Queues a message to all that have the deployment id."""
        self._queue_nowait(self._common, payload)

    def _queue_nowait(self, channel: str, payload: bytes) -> None:
        self._queue.append((channel, payload))
        self._queued_bytes += len(payload)
        while self._queued_bytes > MAX_QUEUED_BYTES:
            _, dropped = self._queue.popleft()
            self._queued_bytes -= len(dropped)
            self.dropped_count += 1
        self._filled.set()
        self._emptied.clear()

    async def subscribe(self, channels: Iterable[str], *, timeout_seconds: float = 1.0) -> bool:
        """Subscribes and waits for the confirmations; False when they did not come in time (the bus is away)."""
        wanted = {channel for channel in channels if channel not in self._confirmed}
        self._channels.update(wanted)
        if not wanted:
            return True
        if not self._is_connected:
            return False
        confirmations = _Confirmations(len(wanted), asyncio.get_running_loop().create_future())
        for channel in wanted:
            self._waiting.setdefault(channel, []).append(confirmations)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._subscriber.subscribe(self._prefix + channel for channel in wanted)
            _, late = await asyncio.wait([confirmations.all_came], timeout=timeout_seconds)
            return not late
        except (RedisError, OSError, TimeoutError) as error:
            _log.warning("not subscribed; the commit feed stands in", count=len(wanted), error=str(error))
            return False
        finally:
            if confirmations.missing_count:
                self._stop_waiting(wanted, confirmations)

    def _stop_waiting(self, channels: Iterable[str], confirmations: _Confirmations) -> None:
        for channel in channels:
            waiting = self._waiting.get(channel, [])
            if confirmations in waiting:
                waiting.remove(confirmations)
                if not waiting:
                    del self._waiting[channel]

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Ends subscriptions; without effect on what is not subscribed."""
        gone = [channel for channel in channels if channel in self._channels]
        self._channels.difference_update(gone)
        self._confirmed.difference_update(gone)
        if gone and self._is_connected:
            with suppress(RedisError, OSError):  # the reader sees the same fault and connects anew, without these
                await self._subscriber.unsubscribe(self._prefix + channel for channel in gone)

    async def run(self, receiver: Receiver) -> None:
        """Reads, publishes and beats until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_forever(receiver), name="bus reader")
            group.create_task(self._publish_forever(), name="bus publisher")
            group.create_task(self._beat_forever(), name="bus beat")
            group.create_task(self._follow_forever(), name="bus follower")

    async def close(self) -> None:
        """Closes both connections."""
        await self._publisher.close()
        await self._subscriber.close()

    async def flush(self, timeout_seconds: float) -> None:
        """Waits until what was queued is published, or the time is up."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._emptied.wait()
        except TimeoutError:
            _log.warning("bus messages not published at shutdown", count=len(self._queue))

    async def _read_forever(self, receiver: Receiver) -> None:
        while True:
            try:
                await self._connect()
                receiver.reconnected()
                await self._read(receiver)
            except (RedisError, OSError) as error:
                why = explain(error) if str(error) else "the bus is silent"
                if why != self._told_lost:
                    _log.warning("bus connection lost", servers=str(self._servers), error=why)
                self._told_lost = why
                self._is_connected = False
                self._confirmed.clear()
                # Both go: what is published where nobody listens would be lost for ever, and unnoticed.
                self._publisher.leave_soon()
                await self._subscriber.close()
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _connect(self) -> None:
        async with asyncio.timeout(_SILENCE_SECONDS):
            names = (self._prefix + channel for channel in (self._beat_channel, *sorted(self._channels)))
            await self._subscriber.connect((self._common, *names))

    async def _read(self, receiver: Receiver) -> None:
        """Takes what comes. Raises: RedisError, OSError (TimeoutError: nothing came for too long)."""
        loop = asyncio.get_running_loop()
        self._heard_time = loop.time()
        async with asyncio.timeout(None) as limit:
            self._watch_silence(limit)
            try:
                while True:
                    kind, channel, payload = await self._subscriber.read()
                    self._heard_time = loop.time()
                    self._take(receiver, kind, channel.decode(errors="replace"), payload)
            finally:
                self._silence_timer.cancel()

    def _watch_silence(self, limit: asyncio.Timeout) -> None:
        """Ends the reading when nothing came for too long, with one timer in that time and not one a message."""
        loop = asyncio.get_running_loop()
        deadline = self._heard_time + _SILENCE_SECONDS
        if loop.time() < deadline:
            self._silence_timer = loop.call_at(deadline, self._watch_silence, limit)
        else:
            limit.reschedule(deadline)

    def _take(self, receiver: Receiver, kind: bytes, name: str, payload: bytes) -> None:
        channel = name[len(self._prefix) :]
        if kind == b"message":
            if name == self._common:
                receiver.take_common(payload[len(self._stamp) :])
            elif payload[:_DIGEST_BYTES] != self._namespace or not self._is_peer(
                payload[_DIGEST_BYTES : len(self._stamp)]
            ):
                self.foreign_count += 1
            elif channel == self._beat_channel:
                self._take_beat(payload[len(self._stamp) :])
            else:
                self.received_count += 1
                receiver.take(channel, payload[len(self._stamp) :])
        elif kind == b"subscribe" and name != self._common:
            self._confirmed.add(channel)
            if channel == self._beat_channel:
                self._is_connected = True  # the server has answered; a hung one takes a subscription, too
                self._beat()  # so that it is known to be alive at once
            for confirmations in self._waiting.pop(channel, ()):
                confirmations.take_one()

    def _take_beat(self, payload: bytes) -> None:
        now = time.monotonic()
        try:
            self.beat_lag_seconds = now - float(payload)
        except ValueError:
            return  # somebody else's: it proves nothing
        self._last_beat = now
        self.beat_count += 1
        if self._told_lost:
            _log.warning("bus back")
            self._told_lost = ""

    async def _publish_forever(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(_PIPELINE, len(self._queue)))]
                self._queued_bytes -= sum(len(payload) for _, payload in batch)
                await self._publish(batch)
            self._emptied.set()

    async def _publish(self, batch: list[tuple[str, bytes]]) -> None:
        try:
            await self._publisher.publish([(channel.encode(), payload) for channel, payload in batch])
            self.published_count += len(batch)
            self._told_dropped = ""
        except (RedisError, OSError, TimeoutError) as error:
            # What waits behind goes too: it would come late, when the commit feed has brought it long before.
            dropped_count = len(batch) + len(self._queue)
            self._queue.clear()
            self._queued_bytes = 0
            self.dropped_count += dropped_count
            why = explain(error)
            if why != self._told_dropped:
                _log.warning("bus messages dropped", servers=str(self._servers), count=dropped_count, error=why)
            self._told_dropped = why
            if is_read_only(error):
                await self._subscriber.close()  # the reader sees that, and connects anew
                await self._servers.drop_idle()
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _beat(self) -> None:
        self.publish_nowait(self._beat_channel, str(time.monotonic()).encode())  # this process alone reads it

    async def _beat_forever(self) -> None:
        while True:
            self._beat()
            await asyncio.sleep(_BEAT_SECONDS)
            # What was asked for while the connection was being made, or timed out; not what is on its way.
            await self.subscribe(self._channels - self._confirmed - self._waiting.keys())

    async def _follow_forever(self) -> None:
        """Leaves a server that Sentinel has replaced, which may not know it."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            if not await self._publisher.is_current():
                _log.warning("another server is the primary now", servers=str(self._servers))
                self._publisher.leave_soon()
                await self._subscriber.close()  # the reader sees that, and connects anew
