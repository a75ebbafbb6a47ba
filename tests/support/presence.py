"""A store of presence that a test can hold up, or take away."""

import asyncio
from collections.abc import Mapping, Sequence

from storage.errors import Unavailable
from storage.redis.presence import PARTITIONS, PresenceRecord, PresenceStore, partition_of
from storage.redis.servers import Servers


def user_key(store: PresenceStore, username: str) -> str:
    """The key of a user."""
    return f"{{{store._prefix}:{partition_of(username)}}}:of:{username}"


def common_keys(store: PresenceStore, name: str) -> list[str]:
    """The keys of that name, one a partition."""
    return [f"{{{store._prefix}:{nth}}}:{name}" for nth in range(PARTITIONS)]


class Gated(PresenceStore):
    """Writes only when it may, and not at all while it is away; all workers have written their sessions long ago."""

    def __init__(self, servers: Servers, *, namespace: str) -> None:
        super().__init__(servers, namespace=namespace, settle_seconds=0)
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
