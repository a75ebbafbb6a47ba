"""One device that stops reading, and what the others feel of it: the way of their messages with and without it."""

import asyncio
import statistics
from bisect import bisect_left
from dataclasses import replace

from tests.faults.history import Op
from tests.faults.stage import Plan, Stage
from tests.support.waiting import wait_for

PLAN = Plan(users=4, devices=1, conversations=4, rate=500.0, text_bytes=1000)
# The same among a thousand streams, for the figures of memory.
CROWDED = replace(PLAN, bystanders=20)
_SLOW = "slow"


async def stop_reading(stage: Stage, *, pairs: int, stop_seconds: float) -> None:
    """Has one more device stop and go on, in turn with as long a time without a stop; notes what the others felt."""
    slow = stage.add_client(stage.people[0], _SLOW, has_small_window=True, sends=False)
    await stage.connect_all()
    stage.start_load()
    await asyncio.sleep(1)
    stage.notes["MiB before"] = _worker_mib(stage)
    ways: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(pairs):
        for is_stopped in (False, True):
            begin = stage.now()
            if is_stopped:
                slow.stop_reading()
            await asyncio.sleep(stop_seconds)
            if is_stopped:
                stage.notes["during"] = _worker_mib(stage)
            ways[is_stopped].append(_p99_seconds(stage, begin, stage.now()))
            slow.go_on_reading()
            await wait_for(lambda: _is_level(stage), limit_seconds=60, what="the slow reader at the end of the logs")
    await stage.stop_load()
    stage.notes["after"] = _worker_mib(stage)
    for is_stopped, name in ((False, "p99 ms without"), (True, "with")):
        stage.notes[name] = f"{1000 * statistics.median(ways[is_stopped]):.1f}"


def _is_level(stage: Stage) -> bool:
    """Whether the slow device is at most a moment behind the fastest."""
    slow = stage.clients[-1]
    return all(
        slow.last_seqs.get(name, 0) + 50 >= max(client.last_seqs.get(name, 0) for client in stage.clients)
        for name in stage.members
    )


def _p99_seconds(stage: Stage, begin: float, end: float) -> float:
    """From writing a message until a device other than the slow one has it, for what was sent in this time."""
    history = stage.history
    first = bisect_left(history.events, begin, key=lambda event: event.time)
    sent: dict[str, float] = {}
    for event in history.events[first:]:
        if event.op is Op.INVOKE and event.time < end:
            sent.setdefault(event.request_id, event.time)
    first = bisect_left(history.deliveries, begin, key=lambda delivery: delivery.time)
    ways = [
        delivery.time - sent[delivery.request_id]
        for delivery in history.deliveries[first:]
        if delivery.request_id in sent and not delivery.device.endswith(f"/{_SLOW}")
    ]
    return statistics.quantiles(ways, n=100)[98]


def _worker_mib(stage: Stage) -> str:
    return str(sum(worker.memory_info().rss for worker in stage.children("parley worker")) // 2**20)
