"""A store of presence that a test can hold up, or take away."""

import asyncio
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis

from storage.errors import Unavailable
from storage.redis.presence import PresenceRecord, PresenceStore


class Gated(PresenceStore):
    """Writes only when it may, and not at all while it is away; all workers have written their sessions long ago."""

    def __init__(self, redis: "Redis", *, namespace: str) -> None:
        super().__init__(redis, namespace=namespace, settle_seconds=0)
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_away = False
        self.waiting_count = 0
        self.fault_count = 0

    async def write(
        self, alive: Mapping[str, Sequence[str]], gone: Mapping[str, Sequence[str]]
    ) -> dict[str, PresenceRecord]:
        await self._pass()
        return await super().write(alive, gone)

    async def beat(self) -> bool:
        await self._pass()
        return await super().beat()

    async def _pass(self) -> None:
        gate = self.gate
        self.waiting_count += 1
        await gate.wait()
        self.waiting_count -= 1
        if self.is_away:
            self.fault_count += 1
            self.renew()
            raise Unavailable("redis: away")

    def hold(self) -> asyncio.Event:
        """Holds up what comes until the event is set."""
        self.gate = asyncio.Event()
        return self.gate
