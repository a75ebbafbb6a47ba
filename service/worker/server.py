"""A worker: `run_worker` is its start, `leave` and `_close` its end as a list; `composition/` builds the parts."""

import asyncio
import gc
import secrets
from collections.abc import Callable
from contextlib import suppress

import grpc
import structlog

from service.convert.fast_wire import encodings
from service.delivery.bus_messages import RECEIPTS_CHANNEL, REVOCATIONS_CHANNEL
from service.metrics.catalogue import UNARY_METHODS
from service.metrics.publisher import Publisher
from service.metrics.segment import open_segment
from service.rpc.chat.stream import FrameCounts
from service.rpc.grpc_transport import GrpcTransport
from service.rpc.in_flight import InFlight
from service.rpc.pipeline import Around, compose_methods
from service.rpc.registry import SERVICE, to_generic_handler
from service.rpc.telemetry import CallCounts
from service.settings.reflection import shows_reflection
from service.settings.tree import Settings
from service.worker.composition.auth import Auth, build_auth
from service.worker.composition.background import follow_certificate, start_background, start_metrics
from service.worker.composition.delivery import Delivery, build_delivery
from service.worker.composition.metrics import list_sources
from service.worker.composition.reloading import LiveSettings
from service.worker.composition.rpc import build_methods
from service.worker.composition.stores import Stores, open_stores, share_timelines
from service.worker.grpc_server import add_port, open_certificate, server_options
from service.worker.health import Health
from service.worker.leaving import leave
from service.worker.reflection import reflection_handlers
from service.worker.stopping import Stop
from storage.errors import Unavailable

_log = structlog.get_logger(__name__)


async def run_worker(
    live: LiveSettings,
    *,
    index: int,
    listen: str,
    segment: int,
    beat: Callable[[], None],
    ready: Callable[[], None],
    stop: Stop,
) -> None:
    """Serves until it is asked to stop, then drains.

    Args:
        live: with the URLs of both databases and the path of the keys filled in.
        index: which worker this is, from 0.
        listen: host:port; shared with the other workers by SO_REUSEPORT.
        segment: where the supervisor reads the metrics, a file descriptor; not used where they are off.
        beat: tells the supervisor that the event loop runs; its caller does so from then on.
        ready: tells the supervisor that this worker serves.
        stop: asks it to end.
    """
    beat()
    settings = live.current
    worker_id = f"{index}-{secrets.token_hex(4)}"
    stores = await open_stores(settings, worker_id=worker_id)
    with suppress(Unavailable):  # without Redis it is known as soon as the bus is there
        await share_timelines(stores)
    delivery = build_delivery(settings, stores, worker_id=worker_id)
    auth = await build_auth(settings, stores, delivery)
    health = Health(
        lambda: stores.database.fetchval("SELECT 1"), lambda: delivery.bus.is_alive and delivery.presence.is_alive
    )
    calls, frames, in_flight = CallCounts(UNARY_METHODS), FrameCounts(), InFlight()
    server = _build_server(settings, listen, stores, delivery, auth, health, calls, frames, in_flight)
    certificate = open_certificate(settings)
    live.auth, live.certificate = auth, certificate
    add_port(server, listen, certificate)

    await stores.devices.beat()
    await stores.feed.read()  # from here on, whatever the bus loses is found
    delivery.writer.start()
    # Noted now, in force as soon as the bus is there.
    await delivery.bus.subscribe([REVOCATIONS_CHANNEL, RECEIPTS_CHANNEL])
    background = start_background(stores, delivery, auth, health, stop)
    if certificate is not None:
        background.append(follow_certificate(certificate, has_warnings=index == 0))
    publisher = None
    if settings.metrics.listen:
        publisher = Publisher(
            open_segment(segment), list_sources(stores, delivery, auth, health, calls, frames, certificate)
        )
        background += await start_metrics(stores, publisher)
    await health.check()
    stop.is_serving = True
    await server.start()
    gc.freeze()  # what is there now stays; the collector need not look at it again
    _log.info("serving", address=listen, deployment=stores.deployment.deployment_id)
    if publisher is not None:
        publisher.publish()  # before anybody sees it as ready with the gauges of the one before
    ready()
    await _wait_for_end(stop, background)
    await leave(server, auth.streams, in_flight, health, stop, drain_seconds=live.current.shutdown.drain_seconds)
    await _close(stores, delivery, auth, background)
    if publisher is not None:
        publisher.publish()


def _build_server(
    settings: Settings,
    listen: str,
    stores: Stores,
    delivery: Delivery,
    auth: Auth,
    health: Health,
    calls: CallCounts,
    frames: FrameCounts,
    in_flight: InFlight,
) -> grpc.aio.Server:
    methods = build_methods(settings, stores, delivery, auth, health, calls, frames)
    server = grpc.aio.server(options=server_options(settings))
    serve = compose_methods(methods, Around(GrpcTransport, auth.authenticator, in_flight, calls))
    server.add_generic_rpc_handlers((to_generic_handler(methods, serve),))
    health.add_to(server)
    if shows_reflection(settings, listen):
        server.add_generic_rpc_handlers(tuple(reflection_handlers([SERVICE, "grpc.health.v1.Health"])))
    return server


async def _wait_for_end(stop: Stop, background: "list[asyncio.Task[None]]") -> None:
    """Returns when the worker is to end, or when one of the loops that never end has: then it must be started anew."""
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done - {stopped}:
        _log.error("background task ended", task=task.get_name(), exc_info=task.exception())


async def _close(stores: Stores, delivery: Delivery, auth: Auth, background: "list[asyncio.Task[None]]") -> None:
    """Stores what was begun and closes everything; there are no calls any more."""
    await delivery.writer.close(1)
    await delivery.manual.close()
    try:
        await delivery.acks.flush()
        await delivery.modes.flush()
    except Unavailable as error:
        _log.warning("acks lost; their messages will come again", error=str(error))
    await delivery.presence.writer.flush()
    await delivery.bus.flush(1)
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    await delivery.presence.writer.close()
    await delivery.replayer.close()
    await delivery.hub.close()
    await delivery.bus.close()
    await stores.redis.close()
    auth.passwords.close()
    await stores.database.close()
    _log.info(
        "stopped",
        stored=delivery.writer.counts.accepted_count,
        encoded=encodings.count,
        gap_reads=delivery.hub.gap_read_count,
    )
