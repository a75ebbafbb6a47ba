"""The terminal chat while workers end, the server is set back, and tokens run out: nothing lost, nothing twice."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import psutil
import pytest
from parley.v1 import conversation_pb2

from storage.embedded import EmbeddedPostgres
from tests.clients.seats import Seat, seated
from tests.support.proxy import open_proxy
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def hurt_server() -> Iterator[RunningServer]:
    """Two workers that the tests of this module hurt."""
    with running_server(workers=2) as server:
        yield server


@contextlib.asynccontextmanager
async def two_people(target: str, other_target: str | None = None) -> AsyncIterator[tuple[Seat, Seat, str]]:
    """Ada and bob in their direct conversation, with its first message; gives its id, too."""
    ada_name, bob_name = (f"{stem}-{uuid.uuid4().hex[:8]}" for stem in ("ada", "bob"))
    async with seated(other_target or target, bob_name) as bob:
        await bob.sees("/help")
        async with seated(target, ada_name, bob_name) as ada:
            await ada.sees(f"--- {bob_name} ---")
            bob.types(f"/join {ada_name}")
            await bob.sees(f"--- {ada_name} ---")
            ada.types("first")
            await bob.sees(f"{ada_name}: first")
            yield ada, bob, f"{ada_name}:{bob_name}"


def worker(server: RunningServer, index: int) -> psutil.Process | None:
    """The worker's process, if it runs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(server.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if f"parley worker {index}" in " ".join(process.cmdline()):
                    return process
    return None


async def replace_workers(server: RunningServer, number: signal.Signals) -> None:
    """Ends each worker in turn by a signal; goes on when another one has taken its place and serves."""
    for index in range(2):
        victim = await wait_for(lambda index=index: worker(server, index), what="a worker")
        served_count = server.text.count('"event": "serving"')
        victim.send_signal(number)
        await wait_for(
            lambda count=served_count: server.text.count('"event": "serving"') > count,
            limit_seconds=40,
            what="a new worker",
        )


async def talk(people: tuple[Seat, ...], stop: asyncio.Event) -> dict[str, list[str]]:
    """All say something a few times a second, until they are told to stop; gives what they said."""
    said: dict[str, list[str]] = {person.name: [] for person in people}
    while not stop.is_set():
        for person in people:
            said[person.name].append(f"line {len(said[person.name]) + 1} end")
            person.types(said[person.name][-1])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.05)
    return said


async def check_all_saw_all(people: tuple[Seat, ...], conversation_id: str, said: dict[str, list[str]]) -> None:
    for person in people:
        for name, texts in said.items():
            await person.sees(f"{name}: {texts[-1]}")
    log = await people[0].pulls(conversation_id)
    for name, texts in said.items():
        assert [message.text for message in log if message.sender == name and message.text != "first"] == texts
        for person in people:
            assert [text for text in person.said_by(name) if text != "first"] == texts


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "rolling restart"])
async def test_workers_end_in_turn_while_people_talk(hurt_server: RunningServer, number: signal.Signals) -> None:
    async with two_people(hurt_server.target) as (ada, bob, conversation_id):
        stop = asyncio.Event()
        talking = asyncio.create_task(talk((ada, bob), stop))
        await replace_workers(hurt_server, number)
        stop.set()
        await check_all_saw_all((ada, bob), conversation_id, await talking)
        await ada.sees("connected again")
        await bob.sees("connected again")


async def set_back(server: RunningServer, conversation_id: str, seq: int) -> None:
    """The database as it was when a conversation ended at seq, and word of it to the server."""
    connection = await asyncpg.connect(EmbeddedPostgres(server.data_dir).url)
    try:
        for statement in (
            "DELETE FROM parley.messages WHERE conversation_id = $1 AND seq > $2",
            "UPDATE parley.conversations SET last_seq = $2 WHERE conversation_id = $1",
            "UPDATE parley.cursors SET acked_seq = least(acked_seq, $2) WHERE conversation_id = $1",
            "UPDATE parley.members SET read_seq = least(read_seq, $2) WHERE conversation_id = $1",
        ):
            await connection.execute(statement, conversation_id, seq)
    finally:
        await connection.close()
    serving = server.text.count('"event": "serving"')
    command = [sys.executable, "-m", "service", "restored", "--yes", "--data-dir", str(server.data_dir)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    await wait_for(
        lambda: server.text.count('"event": "serving"') == serving + 2, limit_seconds=40, what="workers of the epoch"
    )


async def test_after_a_restore_what_is_void_is_said_and_the_new_history_is_shown(hurt_server: RunningServer) -> None:
    async with open_proxy(hurt_server.target) as proxy, two_people(hurt_server.target, proxy.target) as people:
        ada, bob, conversation_id = people
        for line in ("kept", "lost one", "lost two"):
            ada.types(line)
            await bob.sees(f"{ada.name}: {line}")
        proxy.cut()  # bob hears of nothing, and comes back with positions of before
        await bob.sees("connection lost")
        await set_back(hurt_server, conversation_id, 2)
        await ada.sees("the last 2 entries are void")
        for line in ("new one", "new two", "new three"):
            ada.types(line)
            await ada.sees(f"{ada.name}: {line}")
        bob.types("said while away")
        proxy.restore()
        await bob.sees("the last 2 entries are void")
        await bob.sees(f"{ada.name}: new three")
        await ada.sees(f"{bob.name}: said while away")
        texts = ["first", "kept", "new one", "new two", "new three", "said while away"]
        assert [message.text for message in await bob.pulls(conversation_id)] == texts
        assert ada.history() == bob.history() == texts
        assert "lost two" in bob.said_by(ada.name)


async def test_what_was_acknowledged_before_a_restore_skips_nothing_after_it(hurt_server: RunningServer) -> None:
    async with open_proxy(hurt_server.target) as proxy, two_people(hurt_server.target, proxy.target) as people:
        ada, bob, conversation_id = people
        for line in ("kept", "lost one", "lost two"):
            ada.types(line)
            await bob.sees(f"{ada.name}: {line}")
        proxy.cut()
        await set_back(hurt_server, conversation_id, 2)
        for line in ("new one", "new two", "new three"):
            ada.types(line)
            await ada.sees(f"{ada.name}: {line}")
        proxy.restore()
        await bob.sees(f"{ada.name}: new three")
        acked = await wait_for_cursor(hurt_server, conversation_id, bob.name, 5)
        assert acked == 5
        assert bob.history() == ["first", "kept", "new one", "new two", "new three"]


async def wait_for_cursor(server: RunningServer, conversation_id: str, name: str, seq: int) -> int:
    """Waits until a user's device has acknowledged a conversation up to a seq."""
    connection = await asyncpg.connect(EmbeddedPostgres(server.data_dir).url)
    query = "SELECT acked_seq FROM parley.cursors WHERE conversation_id = $1 AND username = $2"
    try:

        async def acked() -> Any:
            found = await connection.fetchval(query, conversation_id, name)
            return found if found == seq else None

        return int(await wait_for(acked, what="the ack"))
    finally:
        await connection.close()


async def test_call_that_met_a_broken_connection_is_made_again_and_has_one_effect(hurt_server: RunningServer) -> None:
    async with open_proxy(hurt_server.target) as proxy, two_people(hurt_server.target, proxy.target) as people:
        _, bob, _ = people
        proxy.cut()
        bob.types("/new garden")
        await bob.sees("connection lost")
        proxy.restore()
        await bob.sees("--- garden ---")
        request = conversation_pb2.ListConversationsRequest()
        page = await bob.stub.ListConversations(request, metadata=bob.login.metadata, timeout=20)
        assert [conversation.title for conversation in page.conversations if conversation.title] == ["garden"]


@pytest.fixture(scope="module")
def brief_server() -> Iterator[RunningServer]:
    """Access tokens of five seconds."""
    with running_server(settings={"PARLEY_AUTH_ACCESS_TOKEN_SECONDS": "5"}) as server:
        yield server


async def test_stream_outlives_its_tokens(brief_server: RunningServer) -> None:
    async with two_people(brief_server.target) as (ada, bob, _):
        tokens = {ada.login.access_token}

        def has_had_four() -> bool:
            tokens.add(ada.login.access_token)
            return len(tokens) == 4

        await wait_for(has_had_four, limit_seconds=30, what="three fresh tokens")
        ada.types("still here")
        await bob.sees(f"{ada.name}: still here")
        assert "connection lost" not in "\n".join(ada.screen.lines + bob.screen.lines)


async def test_token_that_ends_on_the_stream_is_replaced_and_nothing_is_lost(brief_server: RunningServer) -> None:
    async with two_people(brief_server.target) as (ada, bob, conversation_id):
        stop = asyncio.Event()
        talking = asyncio.create_task(talk((ada, bob), stop))
        ada.login.note_server_time(time.time() - 1000)  # so ada believes that the token lasts
        await ada.sees("connected again")
        stop.set()
        await check_all_saw_all((ada, bob), conversation_id, await talking)


@pytest.mark.timeout(120)
async def test_login_is_kept_over_an_absence_longer_than_its_token(brief_server: RunningServer) -> None:
    async with open_proxy(brief_server.target) as proxy, two_people(brief_server.target, proxy.target) as people:
        ada, bob, _ = people
        proxy.cut()
        await bob.sees("connection lost")
        token, expire_time = bob.login.access_token, time.time() + 6
        bob.types("said without a token")
        await wait_for(lambda: time.time() > expire_time, limit_seconds=20, what="the token's end")
        assert bob.login.access_token == token
        proxy.restore()
        await ada.sees(f"{bob.name}: said without a token", limit_seconds=60)  # the pauses have grown meanwhile
        bob.types("/list")
        await bob.sees("* your conversations:")
