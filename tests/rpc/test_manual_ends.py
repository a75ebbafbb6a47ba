"""Manual acks when workers die or the server starts again: nothing is lost, and attempts are kept."""

import asyncio
import contextlib
import dataclasses
import tempfile
from pathlib import Path

import grpc
import psutil
from google.protobuf.duration_pb2 import Duration
from parley.v1 import dead_letter_pb2

from tests.support.manual import QUICK, ack, attempts, dead_letters, group_of, manual, nack, send_many, until_dead
from tests.support.people import registered
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for


def workers_of(server: RunningServer) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if "parley worker" in " ".join(child.cmdline())]


def kill_all(server: RunningServer) -> None:
    """Kills supervisor, workers and databases, as a power cut would."""
    for process in [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]:
        if process.is_running():
            process.kill()
    server.process.wait(10)


async def test_what_a_killed_worker_held_comes_to_the_others_after_the_deadline() -> None:
    with running_server(workers=2, settings=QUICK) as server:
        async with registered(server.target) as alice, registered(server.target) as bob:
            group = await alice.make_group(bob)
            # With so many connections both workers have some.
            async with group_of(server, bob, 16, ack_deadline=None) as streams:
                acked: set[int] = set()
                await send_many(alice, group, 80)

                async def take_and_ack() -> bool:
                    for stream in streams:
                        if stream.has_ended:
                            continue
                        new = set(stream.seqs(group)) - acked
                        if new:
                            with contextlib.suppress(
                                grpc.aio.AioRpcError, asyncio.InvalidStateError
                            ):  # about to be seen
                                await ack(stream, group, *new)
                                acked.update(new)
                    return len(acked) == 80

                await wait_for(lambda: sum(len(stream.seqs(group)) for stream in streams) >= 80, what="all")
                workers_of(server)[0].kill()
                await wait_for(lambda: any(stream.has_ended for stream in streams), what="the ends of some")
                assert not all(stream.has_ended for stream in streams)
                await wait_for(take_and_ack, what="all on the other worker", limit_seconds=20)


async def test_attempts_are_kept_over_a_kill_of_everything() -> None:
    with tempfile.TemporaryDirectory(prefix="parley-manual-") as folder:
        settings = QUICK | {"PARLEY_RETRY_MAX_ATTEMPTS": "4"}
        data_dir = Path(folder)
        with running_server(data_dir, workers=2, settings=settings) as server:
            async with registered(server.target) as alice, registered(server.target) as bob:
                group = await alice.make_group(bob)
                await alice.send(group, "poison")
                async with bob.chat(**manual(ack_deadline=None)) as stream:
                    await stream.until(lambda: attempts(stream, group) == [(1, 1)], "attempt 1")
                    await nack(stream, group, 1, reason="first")
                    await stream.until(lambda: attempts(stream, group)[-1] == (1, 2), "attempt 2")
                    kill_all(server)
        with running_server(data_dir, workers=2, settings=settings) as server:
            async with registered(server.target) as other:
                bob = dataclasses.replace(bob, channel=other.channel, stub=other.stub)
                async with bob.chat(**manual()) as stream:
                    await stream.until(lambda: attempts(stream, group) == [(1, 3)], "attempt 3")
                    await nack(stream, group, 1, retry_delay=Duration())
                    await stream.until(lambda: attempts(stream, group)[-1] == (1, 4), "attempt 4")
                    await nack(stream, group, 1, reason="last")
                    (letter,) = await until_dead(bob)
                    assert (letter.attempts, letter.last_reason) == (4, "last")


async def test_rolling_restart_gives_back_what_was_held_and_counts_no_attempt() -> None:
    with tempfile.TemporaryDirectory(prefix="parley-manual-") as folder:
        with running_server(Path(folder)) as server:
            async with registered(server.target) as alice, registered(server.target) as bob:
                group = await alice.make_group(bob)
                await send_many(alice, group, 3)
                async with bob.chat(**manual()) as stream:
                    await stream.until(lambda: len(stream.seqs(group)) == 3, "all")
                    await ack(stream, group, 2)
                    server.process.terminate()
                    await stream.end()
                    assert stream.go_aways
        with running_server(Path(folder)) as server:
            async with registered(server.target) as other:
                bob = dataclasses.replace(bob, channel=other.channel, stub=other.stub)
                async with bob.chat(**manual()) as stream:
                    await stream.until(lambda: attempts(stream, group) == [(1, 1), (3, 1)], "the rest")


async def test_without_any_stream_left_what_is_overdue_becomes_a_dead_letter() -> None:
    with running_server(workers=1, settings=QUICK | {"PARLEY_RETRY_MAX_ATTEMPTS": "1"}) as server:
        async with registered(server.target) as alice, registered(server.target) as bob:
            group = await alice.make_group(bob)
            await alice.send(group, "one")
            async with bob.chat(**manual(ack_deadline=None)) as stream:
                await stream.until(lambda: stream.seqs(group) == [1], "it")
                (worker,) = workers_of(server)
                worker.kill()
                await stream.end()

            async def found() -> list[dead_letter_pb2.DeadLetter]:
                try:
                    return await dead_letters(bob)
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.UNAVAILABLE:
                        return []  # while the next worker starts
                    raise

            (letter,) = await wait_for(found, what="the dead letter", limit_seconds=20)
            assert (letter.attempts, letter.last_reason) == (1, "The ack deadline passed.")
