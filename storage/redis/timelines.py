"""What workers tell each other of PostgreSQL's timelines: the highest that any of them saw, by cluster.

So a worker that a former primary answers first does not take it for the primary. Only a help: while Redis is away each
worker knows what it saw itself. A copy of the cluster that was restored elsewhere is on a higher timeline, and must not
make this server take its own primary for a former one; so only those are told who name the same hosts.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

from redis.exceptions import RedisError

from storage.errors import Unavailable
from storage.redis.calls import Call, read_scripts
from storage.redis.servers import Servers
from storage.redis.troubles import explain

_TIMEOUT_SECONDS = 1.0
# Renewed while a worker runs. After a restore to an earlier timeline it must not be in the way for long.
_KEEP_SECONDS = 600


class TimelineStore:
    """The highest timelines.

    Args:
        namespace: begins every key.
        hosts: PostgreSQL's, as the URL names them.
    """

    def __init__(self, servers: Servers, *, namespace: str, hosts: Sequence[str]) -> None:
        named = hashlib.blake2b("\n".join(sorted(hosts)).encode(errors="surrogateescape"), digest_size=4).hexdigest()
        self._key = f"{namespace}:timelines:{named}"
        self._servers = servers
        self._scripts = read_scripts("share")

    async def share(self, timelines: Mapping[int, int]) -> dict[int, int]:
        """Shares the timelines seen by this worker; returns the highest seen by any worker, of these clusters.

        Raises:
            Unavailable: Redis is.
        """
        clusters = list(timelines)  # more may come while this waits
        pairs = [number for pair in timelines.items() for number in pair]
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                call = Call(self._scripts[0], self._scripts, [self._key], [_KEEP_SECONDS, *pairs])
                (answers,) = await self._servers.run([[call]])
                if isinstance(answers, Exception):
                    raise answers
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"redis: {explain(error)}") from error
        return dict(zip(clusters, map(int, answers[0]), strict=True))
