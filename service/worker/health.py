"""grpc.health.v1 from real checks: SERVING while PostgreSQL answers. Redis missing is degraded, and still SERVING.

"", "parley.v1.ChatService" and "readiness" say whether to send calls here; before the end they say NOT_SERVING.
"liveness" is SERVING for as long as the worker answers: a restart brings no database back.
"""

from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service.rpc.registry import SERVICE
from storage.errors import Unavailable

CHECK_SECONDS = 1.0
# Service names beside "" and the service's own: whether to send calls here, and whether the process is of use at all.
READINESS = "readiness"
LIVENESS = "liveness"


class Health:
    """What this worker says of itself.

    Args:
        check_database: raises Unavailable when PostgreSQL does not answer.
        is_redis_alive: whether Redis does all that it is needed for: carries messages, and takes presence.
    """

    def __init__(self, check_database: Callable[[], Awaitable[object]], is_redis_alive: Callable[[], bool]) -> None:
        self._check_database = check_database
        self._is_redis_alive = is_redis_alive
        self._has_database = False
        self._is_leaving = False
        self._servicer = health.aio.HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the health service to a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def component_states(self) -> dict[str, bool]:
        """Returns which parts answered at the last check."""
        return {"postgres": self._has_database, "redis": self._is_redis_alive()}

    async def check(self) -> None:
        """Looks at PostgreSQL and tells everybody who watches."""
        try:
            await self._check_database()
            self._has_database = True
        except Unavailable:
            self._has_database = False
        await self._tell()

    async def leave(self) -> None:
        """Says NOT_SERVING, for good."""
        self._is_leaving = True
        await self._tell()

    async def _tell(self) -> None:
        states = health_pb2.HealthCheckResponse
        for name in ("", SERVICE, READINESS):
            is_ready = self._has_database and not self._is_leaving  # another one may have said so meanwhile
            await self._servicer.set(name, states.SERVING if is_ready else states.NOT_SERVING)
        await self._servicer.set(LIVENESS, states.SERVING)
