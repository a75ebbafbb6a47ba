"""What workers tell each other of PostgreSQL's timelines: the highest that any of them saw, by cluster.

So a worker that a former primary answers first does not take it for the primary. Only a help: while Redis is away each
worker knows what it saw itself. A copy of the cluster that was restored elsewhere is on a higher timeline, and must not
make this server take its own primary for a former one; so only those are told who name the same hosts.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
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
        namespace: begins every key.
        hosts: PostgreSQL's, as the URL names them.
    """

    def __init__(self, redis: "Redis", *, namespace: str, hosts: Sequence[str]) -> None:
        named = hashlib.blake2b("\n".join(sorted(hosts)).encode(), digest_size=4).hexdigest()
        self._key = f"{namespace}:timelines:{named}"
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
