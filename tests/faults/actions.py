"""What is done to servers, databases and networks while clients talk. Each is an `Action` of `run.py`.

Times are how long a fault lasts, never how long something is hoped to take.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
from redis.asyncio import Redis

from storage.embedded import EmbeddedValkey
from tests.faults.stage import Stage, is_running, restart
from tests.support.proxy import Link
from tests.support.waiting import wait_for


async def do_nothing(stage: Stage) -> None:
    """No fault: what is found then is found by traffic alone."""


async def stop_reading_for_a_moment(stage: Stage) -> None:
    """Every device stops reading for a second, so that more comes than its window takes."""
    for client in stage.clients:
        client.stop_reading()
    await asyncio.sleep(1)
    for client in stage.clients:
        client.go_on_reading()


async def kill_worker(stage: Stage) -> None:
    """kill -9 of one worker; its supervisor starts another."""
    stage.rng.choice(stage.children("parley worker")).kill()


async def freeze_worker(stage: Stage) -> float:
    """SIGSTOP of one worker; its supervisor takes it for stalled and kills it."""
    begin = stage.now()
    worker = stage.rng.choice(stage.children("parley worker"))
    worker.suspend()
    await wait_for(lambda: worker.pid not in _pids(stage, "parley worker"), limit_seconds=30, what="its end")
    return begin


async def roll_workers(stage: Stage) -> float:
    """SIGTERM to one worker after the other, each when the one before serves again."""
    begin = stage.now()
    for worker in stage.children("parley worker"):
        served = _count_starts(stage)
        worker.terminate()
        await wait_for(lambda served=served: _count_starts(stage) > served, limit_seconds=40, what="another worker")
    return begin


async def kill_node(stage: Stage) -> float:
    """kill -9 of a whole server of several; another one takes its place after the clients have found the rest."""
    server = stage.rng.choice(stage.servers)
    begin = stage.now()
    kill_tree(server.process.pid)
    server.process.wait()
    await restart(stage, server)
    return begin


async def kill_everything(stage: Stage) -> float:
    """kill -9 of the only server with its PostgreSQL and Valkey, and a start on what is left."""
    begin = stage.now()
    for server in stage.servers:
        kill_tree(server.process.pid)
        server.process.wait()
        await restart(stage, server)
    return begin


async def kill_redis(stage: Stage) -> None:
    """kill -9 of Redis, which comes back empty."""
    (await _child(stage, "valkey-server")).kill()


async def freeze_redis(stage: Stage) -> None:
    """SIGSTOP of Redis for 10 s."""
    redis = await _child(stage, "valkey-server")
    redis.suspend()
    await asyncio.sleep(10)
    redis.resume()


async def cut_redis(stage: Stage) -> None:
    """No way to Redis for 3 s."""
    assert stage.redis_proxy is not None
    stage.redis_proxy.cut()
    await asyncio.sleep(3)
    stage.redis_proxy.restore()


async def half_open_redis(stage: Stage) -> None:
    """The way to Redis swallows everything for 5 s and closes nothing."""
    assert stage.redis_proxy is not None
    stage.redis_proxy.stall()
    await asyncio.sleep(5)
    stage.redis_proxy.restore()


async def lose_publications(stage: Stage) -> None:
    """What workers publish vanishes for 1.5 s, while their subscriptions live on."""
    assert stage.redis_proxy is not None
    stage.redis_proxy.swallow(is_publisher)
    await asyncio.sleep(1.5)
    stage.redis_proxy.restore()
    stage.redis_proxy.drop(lambda link: is_publisher(link, b""))


def is_publisher(link: Link, data: bytes) -> bool:
    """Whether a connection to Redis is, or from now on will be, one that publishes."""
    return b"PUBLISH" in link.sent or b"PUBLISH" in data


async def kill_subscribers(stage: Stage) -> None:
    """Redis ends all subscriptions' connections."""
    async with _redis(stage) as redis:
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


async def fill_redis(stage: Stage) -> None:
    """Redis is out of memory for 4 s."""
    async with _redis(stage) as redis:
        await redis.config_set("maxmemory", "1mb")
        await asyncio.sleep(4)
        await redis.config_set("maxmemory", "0")


async def kill_postgres(stage: Stage) -> None:
    """kill -9 of PostgreSQL's postmaster; the supervisor starts it again and it recovers."""
    (await _child(stage, "bin/postgres")).kill()


async def freeze_postgres(stage: Stage) -> None:
    """SIGSTOP of PostgreSQL, backends included, for 8 s."""
    postmaster = await _child(stage, "bin/postgres")
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    await asyncio.sleep(8)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


async def drop_postgres(stage: Stage) -> None:
    """All connections to PostgreSQL are reset, five times in a second: what was under way may be committed."""
    assert stage.postgres_proxy is not None
    for _ in range(5):
        stage.postgres_proxy.drop()
        await asyncio.sleep(stage.rng.uniform(0.1, 0.3))


async def swallow_answers(stage: Stage) -> None:
    """What PostgreSQL answers is lost for 0.3 s and then the connections are: everything under way is committed."""
    assert stage.postgres_proxy is not None
    stage.postgres_proxy.swallow_answers()
    await asyncio.sleep(0.3)
    stage.postgres_proxy.restore()
    stage.postgres_proxy.drop()


async def use_up_connections(stage: Stage) -> None:
    """All of PostgreSQL's connections are taken, the server's own too, for 4 s."""
    taken: list[asyncpg.Connection] = []
    try:
        for _ in range(3):
            with contextlib.suppress(asyncpg.PostgresError, OSError):
                while True:
                    taken.append(await asyncpg.connect(stage.database_url))
            await taken[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'parley'"
            )
        await asyncio.sleep(4)
    finally:
        for connection in taken:
            connection.terminate()


async def lock_table(stage: Stage) -> None:
    """Somebody locks the table of messages for 5 s."""
    connection = await asyncpg.connect(stage.database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE parley.messages IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(5)
    finally:
        await connection.close()


async def fill_disk(stage: Stage) -> None:
    """The file system of the data directory is full for 4 s."""
    filler = _fill(stage)
    await asyncio.sleep(4)
    filler.unlink()


async def fill_wal(stage: Stage) -> float:
    """PostgreSQL has no room for its next WAL segment: it panics, and recovers after 4 s, when there is room again."""
    connection = await asyncpg.connect(stage.database_url)
    filler = _fill(stage)
    try:
        with contextlib.suppress(asyncpg.PostgresConnectionError, asyncpg.InternalClientError, OSError):
            # Segments that are there already are used first, and then there must be a new one.
            for _ in range(100):
                await connection.execute("SELECT pg_logical_emit_message(false, 'parley', ''), pg_switch_wal()")
            raise AssertionError("PostgreSQL goes on writing to a full disk")
        await asyncio.sleep(4)
    finally:
        connection.terminate()
        filler.unlink()
    await wait_for(lambda: _answers(stage), limit_seconds=60, what="PostgreSQL")
    return stage.now()


def _fill(stage: Stage) -> Path:
    """Fills the file system of the data directory to the last block; gives the file that does."""
    filler = stage.servers[0].data_dir / "filler"
    for size_bytes in (1024 * 1024, 1024):
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(size_bytes))
    return filler


async def _answers(stage: Stage) -> bool:
    try:
        connection = await asyncpg.connect(stage.database_url, timeout=1)
    except (asyncpg.PostgresError, OSError):
        return False
    connection.terminate()
    return True


async def fail_over(stage: Stage) -> None:
    """The primary is gone for good and its synchronous standby is promoted."""
    assert stage.cluster is not None
    await asyncio.to_thread(stage.cluster.primary.kill)
    await asyncio.to_thread(stage.cluster.promote)
    stage.database_url = stage.cluster.primary.url


async def fail_over_with_return(stage: Stage) -> None:
    """As `fail_over`; the old primary comes back at once, on its lower timeline, often before a worker has looked."""
    await fail_over(stage)
    assert stage.cluster is not None
    await asyncio.to_thread(stage.cluster.revive_old)


async def kill_several(stage: Stage) -> None:
    """A worker, Redis and PostgreSQL are killed within a second, in any order."""
    for action in stage.rng.sample([kill_worker, kill_redis, kill_postgres], 3):
        await action(stage)
        await asyncio.sleep(stage.rng.uniform(0, 0.3))


async def cut_clients(stage: Stage) -> None:
    """Connections of clients are reset in the middle of a frame, ten times."""
    assert stage.client_proxy is not None
    for _ in range(10):
        stage.client_proxy.cut_after(stage.rng.randint(1, 4000))
        await asyncio.sleep(stage.rng.uniform(0.05, 0.2))


async def stall_clients(stage: Stage) -> None:
    """Nothing comes through between clients and server for 6 s, and nothing is closed."""
    assert stage.client_proxy is not None
    stage.client_proxy.stall()
    await asyncio.sleep(6)
    stage.client_proxy.restore()


def kill_tree(pid: int) -> None:
    """Kills a server and all below it."""
    supervisor = psutil.Process(pid)
    for process in (supervisor, *supervisor.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


async def change_members(stage: Stage) -> None:
    """Users are taken out of conversations and put in again while all talk; one stays out."""
    owner, *others = stage.people
    for conversation_id in list(stage.members):
        one, other = stage.rng.sample(others, 2)
        for who in (one, other):
            if who.name in stage.present[conversation_id]:
                await stage.remove_member(conversation_id, owner, who)
        await asyncio.sleep(stage.rng.uniform(0.05, 0.2))
        await stage.add_member(conversation_id, owner, one)


async def _child(stage: Stage, name: str) -> psutil.Process:
    """The only server's own process of this name, as soon as there is one."""
    (supervisor,) = (psutil.Process(server.process.pid) for server in stage.servers)
    return await wait_for(
        lambda: next((process for process in supervisor.children() if is_running(process, name)), None), what=name
    )


def _count_starts(stage: Stage) -> int:
    return sum(server.text.count('"event": "serving"') for server in stage.servers)


def _pids(stage: Stage, name: str) -> set[int]:
    return {process.pid for process in stage.children(name)}


@contextlib.asynccontextmanager
async def _redis(stage: Stage) -> AsyncIterator[Redis]:
    url = (stage.valkey or EmbeddedValkey(stage.servers[0].data_dir)).url
    redis = Redis.from_url(url)
    try:
        yield redis
    finally:
        await redis.aclose()
