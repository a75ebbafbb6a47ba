"""A front that is not gRPC: calls come and go through queues of this process; and a worker that serves by it.

All behind the seam is what a worker has, on the databases of the tests.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from google.rpc import status_pb2

from service.auth.keys import ensure_keys_file
from service.metrics.catalogue import UNARY_METHODS
from service.rpc.chat.stream import FrameCounts
from service.rpc.in_flight import InFlight
from service.rpc.pipeline import Around, Serve, compose_methods
from service.rpc.telemetry import CallCounts
from service.settings.tree import AuthSettings, DatabaseSettings, RedisSettings, Secret, Settings
from service.worker.composition.auth import build_auth
from service.worker.composition.background import start_background
from service.worker.composition.delivery import build_delivery
from service.worker.composition.rpc import build_methods
from service.worker.composition.stores import open_stores
from service.worker.health import Health
from service.worker.server import _close
from service.worker.stopping import Stop
from tests.support.databases import Backends, fresh_schema


class HalfClose:
    """What a client puts last."""


class Aborted(Exception):
    """What ends a call here that is refused."""


class QueueTransport:
    """One call. A client puts what it sends into `sent` and takes frames from `frames`."""

    def __init__(self, token: str = "", *, seconds: float | None = 20.0) -> None:
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.peer = "192.0.2.7"
        self.seconds = seconds
        self.sent: asyncio.Queue[bytes | HalfClose] = asyncio.Queue()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.call_id = ""
        self.status: status_pb2.Status | None = None

    def time_remaining(self) -> float | None:
        """How long the client waits."""
        return self.seconds

    def name_call(self, call_id: str) -> None:
        """Keeps it for the client."""
        self.call_id = call_id

    async def read(self) -> bytes | HalfClose:
        """Takes what the client put next."""
        return await self.sent.get()

    async def write(self, frame: bytes) -> None:
        """Puts a frame for the client."""
        await self.frames.put(frame)

    async def abort(self, status: status_pb2.Status) -> NoReturn:
        """Keeps the status for the client."""
        self.status = status
        raise Aborted


@asynccontextmanager
async def serving_by_queues(backends: Backends, directory: Path) -> AsyncIterator[Mapping[str, Serve]]:
    """A worker without a server; gives what serves each method, by name."""
    async with fresh_schema(backends.postgres.url) as schema:
        keys_file = directory / "keys.json"
        ensure_keys_file(keys_file)
        settings = Settings(
            database=DatabaseSettings(url=Secret(backends.postgres.url), db_schema=schema),
            redis=RedisSettings(url=Secret(backends.valkey.url)),
            auth=AuthSettings(keys_file=keys_file),
        )
        stores = await open_stores(settings, worker_id="0-queues")
        delivery = build_delivery(settings, stores, worker_id="0-queues")
        auth = await build_auth(settings, stores, delivery)
        health = Health(lambda: stores.database.fetchval("SELECT 1"), lambda: delivery.bus.is_alive)
        counts = CallCounts(UNARY_METHODS)
        methods = build_methods(settings, stores, delivery, auth, health, counts, FrameCounts())
        delivery.writer.start()
        background = start_background(stores, delivery, auth, health, Stop())
        try:
            yield compose_methods(methods, Around(_as_it_is, auth.authenticator, InFlight(), counts))
        finally:
            await _close(stores, delivery, auth, background)


def _as_it_is(front: Any) -> Any:
    return front
