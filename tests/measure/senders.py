"""Very many senders on several workers into one conversation: a dense log, and few reads of it to fill gaps."""

import asyncio
import time
from typing import Any

from parley.v1 import chat_pb2, message_pb2

from tests.measure.setting import Channels, add_conversations, counts_of, setting
from tests.support.logs import add_users

_CONVERSATION = "busy"


async def _talk(call: Any, count: int, total: int, waits: list[float]) -> tuple[list[int], list[int]]:
    """Sends one message after the answer to the one before, reads until all are there; gives (sent, received) seqs."""
    await call.write(chat_pb2.ChatRequest(correlation_id=1, hello=chat_pb2.Hello(device_id="phone")))
    sent: list[int] = []
    received: list[int] = []
    begin = 0.0
    while len(received) < total or len(sent) < count:
        response = chat_pb2.ChatResponse.FromString(await call.read())
        assert not response.errors, response.errors
        received += [message.seq for message in response.messages]
        is_next = bool(response.caught_up)
        for result in response.results:
            waits.append(time.perf_counter() - begin)
            sent.append(result.accepted.seq)
            is_next = True
        if is_next and len(sent) < count:
            begin = time.perf_counter()
            request = message_pb2.SendRequest(conversation_id=_CONVERSATION, text="x" * 100)
            await call.write(chat_pb2.ChatRequest(correlation_id=2, send=chat_pb2.SendFrame(requests=[request])))
    return sent, received


async def measure(senders: int = 64, each: int = 200, workers: int = 2) -> None:
    """Prints whether the log is dense and complete everywhere, and how often a gap was read."""
    async with setting(workers=workers) as place:
        names = [f"sender{nth}" for nth in range(senders)]
        await add_users(place.database, *names)
        await add_conversations(place.database, [_CONVERSATION], names)
        tokens = await place.mint(names)
        channels = Channels(place.server.target, streams_each=1)
        calls = [channels.open_chat(token) for token in tokens.values()]
        total, waits = senders * each, list[float]()
        begin = time.perf_counter()
        found = await asyncio.gather(*(_talk(call, each, total, waits) for call in calls))
        seconds = time.perf_counter() - begin
        await channels.close()
        counts = counts_of(place.server)
    whole = list(range(1, total + 1))
    print(f"{senders} senders, {workers} workers: {total} messages in {seconds:.1f} s ({total / seconds:.0f} a second)")
    print(f"dense: {sorted(seq for sent, _ in found for seq in sent) == whole};", end=" ")
    print(f"complete and in order on {sum(received == whole for _, received in found)} of {senders} streams")
    waits.sort()
    print(f"answer after: median {waits[len(waits) // 2]:.3f} s, p99 {waits[len(waits) * 99 // 100]:.3f} s")
    print(f"stored by: {[one['stored'] for one in counts]}; gap reads: {[one['gap_reads'] for one in counts]}")
