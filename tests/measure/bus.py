"""The bus with a channel a conversation, against a fixed number of shards (ADR 10), on a real Valkey and the real Bus.

Each worker is a process. Every conversation has two members, each on a worker drawn by lot; one of them sends. A worker
wants the conversations that it has a member of; what comes and is not wanted is looked at as the dispatcher would: by
its header, and dropped.
"""

import asyncio
import gc
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import psutil
import uvloop
from redis import Redis as SyncRedis

from service.convert.items import Item
from service.delivery import bus_frames
from service.delivery.bus_frames import FrameType
from storage.embedded import EmbeddedValkey
from storage.records import EntryKind
from storage.redis.bus import Bus, Receiver
from storage.redis.servers import Servers
from tests.support.waiting import wait_for

_SHARDS = 64
_CONVERSATIONS = 20_000
# Of a user whose hello comes first.
_FIRST = 5000
_CASES = ((1, 2000), (2, 2000), (4, 2000), (8, 2000), (4, 8000))  # (workers, messages a second)
_SECONDS = 8.0
_TICK_SECONDS = 0.01
_BODY = b"x" * 200
_HEADER_BYTES = 13

_to_channel: dict[str, Callable[[str], str]] = {
    "channels": lambda name: f"c:{name}",
    "shards": lambda name: f"s:{crc32(name.encode()) % _SHARDS}",
}


@dataclass(slots=True)
class _Figures:
    """What one worker saw. Times in seconds of processor time, unless said."""

    subscribe_wall: float = 0.0
    subscribe_cpu: float = 0.0
    memory_mib: float = 0.0
    published: int = 0
    cpu: float = 0.0
    heard: dict[str, int] = field(default_factory=lambda: {"wanted": 0, "own": 0, "unwanted": 0})


class _Ears:
    """Does with what comes over the bus what the dispatcher does, up to the sessions."""

    def __init__(self, wanted: list[str], figures: _Figures) -> None:
        self.positions = dict.fromkeys(wanted, 0)
        self._heard = figures.heard

    def take(self, channel: str, payload: bytes) -> None:
        """Takes a message."""
        name = channel[2:] if channel[0] == "c" else payload[_HEADER_BYTES:][: payload[2]].decode()
        position = self.positions.get(name)
        if position is None:
            self._heard["unwanted"] += 1
        elif bus_frames.last_seq(payload) <= position:
            self._heard["own"] += 1
        else:
            frame = bus_frames.unpack(payload)
            self.positions[frame.conversation_id] = frame.items[-1].seq
            self._heard["wanted"] += 1


async def _publish(bus: Bus, ears: _Ears, scheme: str, sending: list[str], per_second: float) -> int:
    """Publishes at a steady pace to conversations in turn; gives how many messages."""
    begin, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < _SECONDS:
        while count < passed * per_second:
            name = sending[count % len(sending)]
            seq = ears.positions[name] = ears.positions[name] + 1
            payload = bus_frames.pack(FrameType.ENTRIES, name, [Item(seq, _BODY, EntryKind.MESSAGE, 0)])
            bus.publish_nowait(_to_channel[scheme](name), payload)
            count += 1
        await asyncio.sleep(_TICK_SECONDS)
    await bus.flush(10)
    return count


async def _until_quiet(figures: _Figures) -> None:
    """Waits until nothing comes any more."""
    while True:
        before = sum(figures.heard.values())
        await asyncio.sleep(0.5)
        if before == sum(figures.heard.values()):
            return


async def _work(url: str, scheme: str, wanted: list[str], sending: list[str], per_second: float, gate: Any) -> _Figures:
    figures = _Figures()
    ears = _Ears(wanted, figures)
    servers = Servers(url)
    bus = Bus(
        servers,
        namespace="m",
        common="m:workers",
        worker_id=str(os.getpid()),
        is_peer=lambda _: True,
    )
    running = asyncio.create_task(bus.run(Receiver(ears.take, lambda _: None, lambda: None)))
    await wait_for(lambda: bus.is_alive, what="the bus")
    gc.collect()
    process, to_channel = psutil.Process(), _to_channel[scheme]
    memory = process.memory_info().rss
    await asyncio.to_thread(gate.wait)
    wall, cpu = time.perf_counter(), time.process_time()
    assert await bus.subscribe({to_channel(name) for name in wanted[:_FIRST]}, timeout_seconds=30.0)
    figures.subscribe_wall, figures.subscribe_cpu = time.perf_counter() - wall, time.process_time() - cpu
    await asyncio.to_thread(gate.wait)
    assert await bus.subscribe({to_channel(name) for name in wanted}, timeout_seconds=30.0)
    figures.memory_mib = (process.memory_info().rss - memory) / 1024**2
    await asyncio.to_thread(gate.wait)
    await asyncio.to_thread(gate.wait)
    cpu = time.process_time()
    figures.published = await _publish(bus, ears, scheme, sending, per_second)
    await asyncio.to_thread(gate.wait)
    await _until_quiet(figures)
    figures.cpu = time.process_time() - cpu
    await asyncio.to_thread(gate.wait)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bus.close()
    await servers.close()
    return figures


def _working_process(results: Any, *args: Any) -> None:
    results.put(uvloop.run(_work(*args)))


@contextmanager
def _valkey() -> Iterator[tuple[str, psutil.Process]]:
    with tempfile.TemporaryDirectory(prefix="parley-bus-") as directory:
        valkey = EmbeddedValkey(Path(directory))
        valkey.spawn()
        valkey.wait()
        try:
            redis = SyncRedis.from_url(valkey.url)
            yield valkey.url, psutil.Process(redis.info("server")["process_id"])
            redis.close()
        finally:
            valkey.stop()


def _cpu(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def _compare(scheme: str, workers: int, per_second: int) -> None:
    lot = random.Random(workers)
    members = {f"conversation-{nth:05}-0123456789": lot.choices(range(workers), k=2) for nth in range(_CONVERSATIONS)}
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(workers + 1), context.Queue()
    with _valkey() as (url, valkey):
        for worker in range(workers):
            wanted = [name for name, places in members.items() if worker in places]
            sending = [name for name, places in members.items() if places[0] == worker]
            args = (results, url, scheme, wanted, sending, per_second / workers, gate)
            context.Process(target=_working_process, args=args, daemon=True).start()
        gate.wait()
        cpu, memory = _cpu(valkey), valkey.memory_info().rss
        gate.wait()
        subscribe_cpu = _cpu(valkey) - cpu
        gate.wait()
        memory_mib = (valkey.memory_info().rss - memory) / 1024**2
        gate.wait()
        cpu = _cpu(valkey)
        gate.wait()
        gate.wait()
        valkey_cpu = _cpu(valkey) - cpu
        found: list[_Figures] = [results.get() for _ in range(workers)]
    print(f"{scheme:<9} {workers} workers, {per_second} a second;", end=" ")
    _print(found, subscribe_cpu, valkey_cpu, memory_mib)


def _print(found: list[_Figures], subscribe_cpu: float, valkey_cpu: float, memory_mib: float) -> None:
    """Prints what the workers saw, and what Valkey took."""
    workers, published = len(found), sum(one.published for one in found)
    heard = {kind: sum(one.heard[kind] for one in found) for kind in found[0].heard}
    print(
        f"{_FIRST} subscribed in {max(one.subscribe_wall for one in found):.3f} s,"
        f" CPU: worker {max(one.subscribe_cpu for one in found):.3f} s, Valkey {subscribe_cpu / workers:.3f} s;"
        f" memory with all: worker {max(one.memory_mib for one in found):.1f} MiB, Valkey {memory_mib:.1f} MiB"
    )
    print(
        f"{'':<9} a message, CPU: workers {sum(one.cpu for one in found) / published * 1e6:.0f} us,"
        f" Valkey {valkey_cpu / published * 1e6:.0f} us; each worker hears a second:"
        f" {', '.join(f'{count / _SECONDS / workers:.0f} {kind}' for kind, count in heard.items())}",
        flush=True,
    )


async def measure() -> None:
    """Prints both ways for each case."""
    print(f"{_CONVERSATIONS} conversations of 2 members; {_SHARDS} shards")
    for case in _CASES:
        for scheme in _to_channel:
            await asyncio.to_thread(_compare, scheme, *case)
