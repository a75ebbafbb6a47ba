"""A generator process: does its part of a scenario as the parent says, and tells what it saw.

`python -m bench.generator FD`: the file descriptor is its end of a pipe, by which the part comes first.
"""

import asyncio
import contextlib
import gc
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import uvloop
from grpc import aio

from bench.connections import in_words
from bench.errors import RunBroken
from bench.line import HungUp, Line, PipeEnd
from bench.load import Done, Go, Live, Load, Ready, Renew, Sent, Settle, Stop
from bench.meter import Meter
from bench.polling import poll_with_completions

_LIVE_SECONDS = 0.25


def main(descriptor: int) -> None:
    """Runs until the parent has what it wants, or is gone."""
    poll_with_completions()
    with contextlib.suppress(HungUp):
        uvloop.run(_work(Connection(descriptor)))


async def _work(pipe: PipeEnd) -> None:
    line, meter = Line(pipe), Meter()
    part: Any = await line.hear()
    load: Load = part.start(meter)
    begin = time.monotonic()
    try:
        await load.open()
    except (RunBroken, aio.AioRpcError) as error:
        text = in_words(error) if isinstance(error, aio.AioRpcError) else str(error)
        await load.close()
        line.say(Done(meter.read(), None, time.monotonic_ns(), text, had_begun=False))
        return
    line.say(Ready(time.monotonic() - begin))
    word = await line.hear()
    if isinstance(word, Go):
        await _run(line, load, meter, word)


async def _run(line: Line, load: Load, meter: Meter, go: Go) -> None:
    # What was made for the run stays; the collector looks at it no more, and so does not show in the latencies.
    gc.collect()
    gc.freeze()
    meter.set_window(go.window)
    telling = asyncio.create_task(_tell(line, meter))
    hearing = asyncio.create_task(_hear(line, load))
    failure = ""
    try:
        await load.run(go.window)
    except RunBroken as error:
        failure = str(error)
    except aio.AioRpcError as error:
        failure = in_words(error)
    finished_ns = time.monotonic_ns()
    line.say(Sent(load.last_seqs()))
    settle = await hearing
    await load.settle(settle.last_seqs, 0.0 if failure else settle.limit_seconds)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    evidence = await load.close()
    line.say(Done(meter.read(), evidence, finished_ns, failure))


async def _tell(line: Line, meter: Meter) -> None:
    while True:
        line.say(Live(dict(meter.totals), sum(meter.errors.values())))
        await asyncio.sleep(_LIVE_SECONDS)


async def _hear(line: Line, load: Load) -> Settle:
    while True:
        try:
            word = await line.hear()
        except HungUp:
            load.stop()
            raise
        if isinstance(word, Settle):
            return word
        if isinstance(word, Stop):
            load.stop()
        if isinstance(word, Renew):
            with contextlib.suppress(RunBroken, aio.AioRpcError):  # the stream has ended: who reads it says why
                await load.renew(word.tokens)


if __name__ == "__main__":
    main(int(sys.argv[1]))
