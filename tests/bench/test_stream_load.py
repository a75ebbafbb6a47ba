"""The load of scenarios that send, at a server that is there and does not answer."""

import asyncio
import signal
import time

import psutil
import pytest

from bench import stream_load
from bench.connections import Address
from bench.errors import RunBroken
from bench.meter import Meter
from bench.scenarios.chat import Chat
from bench.site import site_at
from bench.window import Window
from tests.support.servers import running_server
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(120)


async def test_run_whose_last_messages_are_never_answered_is_broken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream_load, "_ANSWER_SECONDS", 0.5)
    with running_server() as server:
        workers = psutil.Process(server.process.pid).children()
        async with site_at(Address(server.target), None, lambda _: None, lambda _: None) as site:
            (part,) = await Chat(conversations=1).prepare(site, 1)
            meter = Meter()
            load = part.start(meter)
            await load.open()
            for worker in workers:
                worker.send_signal(signal.SIGSTOP)
            try:
                now = time.monotonic_ns()
                running = asyncio.create_task(load.run(Window(now, now, now + 10**12)))
                await wait_for(lambda: meter.totals["sent"] > 0)
                load.stop()
                with pytest.raises(RunBroken, match="not all that was sent was answered"):
                    await running
                await load.close()
            finally:
                for worker in workers:
                    worker.send_signal(signal.SIGCONT)
