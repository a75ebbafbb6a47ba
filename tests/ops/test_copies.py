"""A copy of a deployment runs beside its original and uses the same Redis: neither hears the other."""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from parley.v1 import chat_service_pb2_grpc

from service.cli.admin.epochs import begin_epoch
from service.cli.admin.opening import open_settings
from tests.support.databases import running_valkey
from tests.support.people import Person, registered
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def redis_settings() -> Iterator[dict[str, str]]:
    with running_valkey() as valkey:
        yield {"PARLEY_REDIS_URL": valkey.url, "PARLEY_METRICS_LISTEN": "127.0.0.1:0"}


@asynccontextmanager
async def at(person: Person, server: RunningServer) -> AsyncIterator[Person]:
    """The same user, with the same token, at another server."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        yield replace(person, channel=channel, stub=chat_service_pb2_grpc.ChatServiceStub(channel))


def count_copies(server: RunningServer) -> int:
    """How often it warned of a copy."""
    return sum("a copy of this deployment" in line for line in server.output)


@pytest.mark.parametrize("is_told", [False, True], ids=["as it came back", "after parley restored"])
async def test_a_copy_that_shares_the_redis_reaches_no_reader_of_the_original(
    redis_settings: dict[str, str], is_told: bool
) -> None:
    with tempfile.TemporaryDirectory(prefix="parley-copies-") as folder:
        original, copy = Path(folder, "original"), Path(folder, "copy")
        with running_server(original, settings=redis_settings) as server:
            async with registered(server.target) as ann, registered(server.target) as bob:
                group = await ann.make_group(bob)
                await ann.send(group, "before")
        await asyncio.to_thread(subprocess.run, ["cp", "-a", original, copy], check=True)  # with its owners
        with (
            running_server(original, settings=redis_settings) as server,
            running_server(copy, settings=redis_settings) as other,
        ):
            if is_told:
                await begin_epoch(open_settings({"data_dir": copy}, None))
                await wait_for(lambda: other.text.count('"event": "serving"') == 2, what="the new epoch")
            async with at(ann, server) as ann_here, at(ann, other) as ann_there, at(bob, server) as bob_here:
                async with bob_here.chat() as stream:
                    await stream.until(lambda: len(stream.messages) >= 1, "the past")
                    await ann_there.send(group, "of the copy")
                    await wait_for(lambda: count_copies(server), what="the warning")
                    await ann_here.send(group, "ours")
                    await stream.until(lambda: len(stream.messages) >= 2, "the message")
                    seen = [(message.seq, message.text) for message in stream.messages]
                    assert seen[-1][1] == "ours"
                    assert "of the copy" not in [text for _, text in seen]
                    assert seen[-1][0] == seen[0][0] + 1
            await wait_for(lambda: count_copies(other), what="the copy's own warning")
        limit = 1 + is_told  # the copy has another name then, and another worker
        assert 1 <= count_copies(server) <= limit
        assert 1 <= count_copies(other) <= limit
        assert '"level": "error"' not in server.text, server.text
