"""What workers tell each other of PostgreSQL's timelines: the highest that any of them saw, by cluster.

So a worker that a former primary answers first does not take it for the primary. Only a help: while Redis is away each
worker knows what it saw itself.
"""

import asyncio
from collections.abc import Mapping
from importlib import resources

from redis.asyncio import Redis
from redis.exceptions import RedisError

from storage.errors import Unavailable

_TIMEOUT_SECONDS = 1.0
# Renewed while a worker runs. After a restore to an earlier timeline it must not be in the way for long.
_KEEP_SECONDS = 600


class TimelineStore:
    """The highest timelines.

    Args:
        prefix: the deployment id.
    """

    def __init__(self, redis: "Redis", *, prefix: str) -> None:
        self._key = f"{prefix}:timelines"
        self._share = redis.register_script((resources.files("storage.redis") / "scripts/share.lua").read_text())

    async def share(self, timelines: Mapping[int, int]) -> dict[int, int]:
        """Tells the timelines seen here; gives the highest seen anywhere, of these clusters.

        Raises:
            Unavailable: Redis is.
        """
        clusters = list(timelines)  # more may come while this waits
        pairs = [number for pair in timelines.items() for number in pair]
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                highest = await self._share(keys=[self._key], args=[_KEEP_SECONDS, *pairs])
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"redis: {type(error).__name__}: {error}") from error
        return dict(zip(clusters, map(int, highest), strict=True))
