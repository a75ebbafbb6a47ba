"""One conversation of very many members, a thousand of them connected, under a steady flow of messages."""

import asyncio
import gc
import multiprocessing
import time
from dataclasses import dataclass, field
from typing import Any

import uvloop
from parley.v1 import chat_pb2, message_pb2

from tests.measure.setting import (
    Channels,
    add_conversations,
    counts_of,
    cpu_seconds,
    memory_mib,
    setting,
)
from tests.support.logs import add_users

_CONVERSATION = "hot"
_SENDERS = 20
# Streams that also note how old what comes is.
_TIMED = 20
_READING_PROCESSES = 2
_TEXT = "x" * 100


@dataclass(slots=True)
class _Reader:
    """A stream that checks the order of what comes, and keeps no message."""

    is_timed: bool
    last_seq: int = 0
    frame_count: int = 0
    ages: list[float] = field(default_factory=list)
    wrong: list[tuple[int, int]] = field(default_factory=list)

    def take(self, data: bytes) -> None:
        """Looks at one frame."""
        self.frame_count += 1
        messages = chat_pb2.ChatResponse.FromString(data).messages
        if seqs := [message.seq for message in messages]:
            if seqs != list(range(self.last_seq + 1, self.last_seq + 1 + len(seqs))):
                self.wrong.append((self.last_seq, seqs[0]))
            self.last_seq = seqs[-1]
        if self.is_timed and messages:
            now = time.time()
            self.ages += [now - each.create_time.seconds - each.create_time.nanos / 1e9 for each in messages]


async def _read(call: Any, reader: _Reader, total: int) -> None:
    while reader.last_seq < total and (data := await call.read()):
        reader.take(data)


async def _hello(call: Any) -> None:
    """Opens a session and reads until it is caught up with nothing."""
    await call.write(chat_pb2.ChatRequest(correlation_id=1, hello=chat_pb2.Hello(device_id="phone")))
    while not chat_pb2.ChatResponse.FromString(await call.read()).caught_up:
        pass


async def _send(call: Any, per_second: float, seconds: float) -> int:
    """Sends one message a frame at a steady pace; gives how many."""
    begin = time.perf_counter()
    count = int(per_second * seconds)
    for nth in range(count):
        await asyncio.sleep(max(0.0, begin + nth / per_second - time.perf_counter()))
        request = message_pb2.SendRequest(conversation_id=_CONVERSATION, text=_TEXT)
        await call.write(chat_pb2.ChatRequest(send=chat_pb2.SendFrame(requests=[request])))
    return count


async def _read_all(target: str, tokens: list[str], total: int, limit_seconds: float, started: Any) -> list[_Reader]:
    """Opens streams, says so, and reads until each has all; gives up at the limit."""
    channels = Channels(target)
    calls = []
    for token in tokens:
        calls.append(channels.open_chat(token))
        await _hello(calls[-1])
    readers = [_Reader(is_timed=nth % (len(calls) // _TIMED) == 0) for nth in range(len(calls))]
    gc.freeze()
    tasks = [asyncio.create_task(_read(*pair, total)) for pair in zip(calls, readers, strict=True)]
    await asyncio.to_thread(started.wait)
    await asyncio.wait(tasks, timeout=limit_seconds)
    for call in calls:
        call.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await channels.close()
    return readers


def _reading_process(results: Any, *args: Any) -> None:
    results.put(uvloop.run(_read_all(*args)))


async def _send_all(target: str, tokens: list[str], per_second: float, seconds: float) -> int:
    """Sends from several streams; gives how many messages."""
    channels = Channels(target, streams_each=1)
    calls = [channels.open_chat(token) for token in tokens]
    for call in calls:
        hello = chat_pb2.Hello(device_id="sender", no_echo=True, start=chat_pb2.START_LATEST, window_messages=1)
        await call.write(chat_pb2.ChatRequest(correlation_id=1, hello=hello))
        await call.read()
    count = sum(await asyncio.gather(*(_send(call, per_second / len(calls), seconds) for call in calls)))
    for call in calls:
        await call.done_writing()
    for call in calls:
        while await call.read():  # the server ends a half-closed stream when all is answered
            pass
    await channels.close()
    return count


async def measure(
    members: int = 10_000, streams: int = 1000, per_second: float = 200.0, seconds: float = 60.0, workers: int = 2
) -> None:
    """Prints whether all came in order, how often a message was encoded, what it cost and how late it was."""
    async with setting(workers=workers) as place:
        names = [f"member{nth:05}" for nth in range(members)]
        await add_users(place.database, *names)
        await add_conversations(place.database, [_CONVERSATION], names)
        tokens = list((await place.mint(names[: streams + _SENDERS])).values())
        context = multiprocessing.get_context("spawn")
        started, results = context.Barrier(_READING_PROCESSES + 1), context.Queue()
        total = int(per_second / _SENDERS * seconds) * _SENDERS
        for nth in range(_READING_PROCESSES):
            share = tokens[nth:streams:_READING_PROCESSES]
            args = (results, place.server.target, share, total, seconds + 60, started)
            context.Process(target=_reading_process, args=args, daemon=True).start()
        await asyncio.to_thread(started.wait)
        processes = [("worker", [worker]) for worker in place.workers()] + [("databases", place.database_processes())]
        before = [cpu_seconds(each) for _, each in processes]
        began = time.perf_counter()
        assert await _send_all(place.server.target, tokens[streams:], per_second, seconds) == total
        stored_seconds = time.perf_counter() - began
        readers = [each for _ in range(_READING_PROCESSES) for each in await asyncio.to_thread(results.get)]
        all_seconds = time.perf_counter() - began
        costs = [
            f"{name} {(cpu_seconds(each) - early) / all_seconds:.2f}"
            for (name, each), early in zip(processes, before, strict=True)
        ]
        costs += [f"{memory_mib(worker):.0f} MiB" for worker in place.workers()]
        counts = counts_of(place.server)
    print(f"{members} members; {total} messages sent at {per_second:.0f} a second", end=", ")
    print(f"stored after {stored_seconds:.1f} s; all had them after {all_seconds:.1f} s")
    _print(readers, total, counts)
    print(
        f"{sum(reader.frame_count for reader in readers) / all_seconds:.0f} frames a second; cores: {', '.join(costs)}"
    )


def _print(readers: list[_Reader], total: int, counts: list[dict[str, int]]) -> None:
    """Prints what the readers saw, and what the workers counted."""
    complete = sum(reader.last_seq == total and not reader.wrong for reader in readers)
    print(f"complete and in order on {complete} of {len(readers)} streams")
    encoded, gap_reads = ([each[name] for each in counts] for name in ("encoded", "gap_reads"))
    print(f"encoded by each worker: {encoded}; gap reads: {gap_reads}")
    ages = sorted(age for reader in readers for age in reader.ages)
    print(f"age at the reader: median {ages[len(ages) // 2]:.3f} s, p99 {ages[len(ages) * 99 // 100]:.3f} s")
