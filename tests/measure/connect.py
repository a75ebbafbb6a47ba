"""How long a user with very many conversations takes from hello to `caught_up.complete`."""

import time
from dataclasses import dataclass

from parley.v1 import chat_pb2

from tests.measure.setting import (
    Channels,
    Setting,
    acknowledge,
    add_conversations,
    add_messages,
    cpu_seconds,
    in_words,
    memory_mib,
    setting,
)
from tests.support.logs import add_users

_OTHERS = [f"other{nth}" for nth in range(1000)]
_BACKLOGS = 200
_BACKLOG_EACH = 10


@dataclass(frozen=True, slots=True)
class _Connected:
    seconds: float
    welcome_seconds: float
    mark_count: int
    message_count: int


async def _connect(target: str, token: str, device_id: str) -> _Connected:
    """Opens a stream and reads until all is caught up."""
    channels = Channels(target)
    call = channels.open_chat(token)
    try:
        await call.wait_for_connection()
        begin = time.perf_counter()
        await call.write(chat_pb2.ChatRequest(correlation_id=1, hello=chat_pb2.Hello(device_id=device_id)))
        welcome_seconds, marks, messages = 0.0, 0, 0
        while True:
            response = chat_pb2.ChatResponse.FromString(await call.read())
            if response.welcomes:
                welcome_seconds = time.perf_counter() - begin
            assert not response.errors, response.errors
            marks += len(response.caught_up)
            messages += len(response.messages)
            if any(mark.complete for mark in response.caught_up):
                return _Connected(time.perf_counter() - begin, welcome_seconds, marks, messages)
    finally:
        call.cancel()
        await channels.close()


async def _measure_case(place: Setting, name: str, tokens: dict[str, str], device_id: str, count: int) -> None:
    found = []
    worker_cpu, database_cpu = cpu_seconds(place.workers()), cpu_seconds(place.database_processes())
    for token in tokens.values():
        found.append(await _connect(place.server.target, token, device_id))
        assert found[-1].mark_count == count, found[-1]
    runs = len(tokens)
    worker_cpu = (cpu_seconds(place.workers()) - worker_cpu) / runs
    database_cpu = (cpu_seconds(place.database_processes()) - database_cpu) / runs
    print(f"{name}, {found[-1].message_count} messages: {in_words([each.seconds for each in found])};")
    welcome = in_words([each.welcome_seconds for each in found])
    print(f"    welcome {welcome}; CPU each: worker {worker_cpu:.2f} s, databases {database_cpu:.2f} s", flush=True)


async def _add_busy(place: Setting, prefix: str, runs: int, conversation_count: int) -> dict[str, list[str]]:
    """Makes users, each with so many conversations of its own, whose device has all of them; gives those."""
    names = [f"{prefix}{nth}" for nth in range(runs)]
    await add_users(place.database, *names)
    lists = {name: [f"{name}-{nth:05}-0123456789" for nth in range(conversation_count)] for name in names}
    for name, ids in lists.items():
        await add_conversations(place.database, ids, _OTHERS, everywhere=name)
        await add_messages(place.database, ids, _OTHERS[0], 3)
        await acknowledge(place.database, name, "phone")
    return lists


async def measure(conversation_count: int = 5000, runs: int = 5) -> None:
    """Prints how long it takes, a user for each run: first on a worker, again, on a new device, with a backlog."""
    step = conversation_count // _BACKLOGS
    async with setting(workers=1) as place:
        await add_users(place.database, *_OTHERS)
        level = await _add_busy(place, "level", runs, conversation_count)
        behind = await _add_busy(place, "behind", runs, conversation_count)
        for ids in behind.values():
            await add_messages(place.database, ids[::step], _OTHERS[0], _BACKLOG_EACH)
        await place.database.execute("ANALYZE")
        tokens = await place.mint(list(level))
        (worker,) = place.workers()
        print(f"{conversation_count} conversations; memory of the worker: {memory_mib(worker):.0f} MiB")
        await _measure_case(place, "first on the worker", tokens, "phone", conversation_count)
        print(f"memory with {runs * conversation_count} conversations open: {memory_mib(worker):.0f} MiB")
        await _measure_case(place, "again at once", tokens, "phone", conversation_count)
        await _measure_case(place, "again, a new device that has nothing", tokens, "new", conversation_count)
        tokens = await place.mint(list(behind))
        what = f"{_BACKLOG_EACH} behind in each of {_BACKLOGS}"
        await _measure_case(place, f"first on the worker, {what}", tokens, "phone", conversation_count)
        await _measure_case(place, f"again, {what}", tokens, "phone", conversation_count)
        warnings = [line for line in place.server.output if '"warning"' in line and '"process": "worker' in line]
        print("\n".join(warnings) or "no worker had to warn of anything")
