"""A worker's way out: NOT_SERVING and `go_away` first, serving on for the delay, then the end of calls and streams.

grpcio cancels calls that it has not taken up when it closes (grpc/grpc#41785). So whoever watches the health gets the
delay to leave, and the port closes last. When it does, calls are held for a moment: while clients wait for answers they
get GOAWAY, which tells them to send no more on the connection.
"""

import asyncio

import grpc
import structlog

from service.delivery.streams import Streams
from service.rpc.in_flight import InFlight
from service.worker.health import Health
from service.worker.stopping import Stop

# The reconnects of the streams' clients are spread over this.
SPREAD_SECONDS = 2.0
# For what is open when unary calls and Chat have ended: a watch of the health, and answers on their way.
_REST_SECONDS = 1.0
# Calls are held until none has come for so long: what an answer and the next call take on a machine that is busy.
_QUIET_SECONDS = 0.1
_HOLD_SECONDS = 1.0
# In which GOAWAY is on its way before the answers of the held calls.
_GOAWAY_SECONDS = 0.02

_log = structlog.get_logger(__name__)


async def leave(
    server: grpc.aio.Server, streams: Streams, in_flight: InFlight, health: Health, stop: Stop, *, drain_seconds: float
) -> None:
    """Takes this worker's leave and closes its port. Returns when all calls have ended.

    Args:
        stop: what asked; says whether there is a delay.
        drain_seconds: how long calls and streams may take to end, after the delay.
    """
    await health.leave()
    if stop.has_delay:
        _log.info("serving on before the end", streams=len(streams))
        streams.ask_to_leave(spread_seconds=SPREAD_SECONDS)
        await stop.pass_delay()
    _log.info("stopping", streams=len(streams))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + drain_seconds
    await streams.go_away(drain_seconds=drain_seconds, spread_seconds=SPREAD_SECONDS)
    await in_flight.hold(quiet_seconds=_QUIET_SECONDS, limit_seconds=_HOLD_SECONDS)
    remaining = max(deadline - loop.time(), _REST_SECONDS)
    closing = asyncio.create_task(server.stop(remaining))
    await asyncio.sleep(_GOAWAY_SECONDS)
    in_flight.release()
    ending = asyncio.create_task(in_flight.wait_for_end())
    await asyncio.wait([closing, ending], return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    await server.stop(_REST_SECONDS)  # the shorter of the two limits counts
    await closing
