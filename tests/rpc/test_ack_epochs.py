"""The unary Ack after a restore: what another epoch's log had is not taken for what this one's has."""

from collections.abc import AsyncIterator

import grpc
import pytest
from parley.v1 import chat_pb2, server_info_pb2

from storage.embedded import EmbeddedPostgres
from storage.postgres.log.epochs import Epochs
from tests.support.databases import open_database
from tests.support.manual import manual
from tests.support.people import Person, refusal, registered
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
async def restored() -> AsyncIterator[tuple[RunningServer, Person, str]]:
    """A server, alice and a group of hers: two entries of epoch 1 are left of three, and two came after the restore."""
    with running_server() as server:
        async with registered(server.target) as alice:
            group = await alice.make_group()
            for text in ("kept", "kept", "lost"):
                await alice.send(group, text)
            async with open_database(EmbeddedPostgres(server.data_dir).url, "parley") as database:
                await database.execute("DELETE FROM messages WHERE conversation_id = $1 AND seq > 2", group)
                await database.execute("UPDATE conversations SET last_seq = 2 WHERE conversation_id = $1", group)
                epoch = await Epochs(database).begin_epoch()

            async def is_known() -> bool:
                request = server_info_pb2.GetServerInfoRequest()
                try:
                    answer = await alice.stub.GetServerInfo(request, timeout=10, wait_for_ready=True)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE):
                        raise
                    return False  # the worker that ends for the new epoch had the call
                return bool(answer.epoch == epoch)

            await wait_for(is_known, limit_seconds=30, what="the epoch")
            for text in ("new", "new"):
                await alice.send(group, text)
            yield server, alice, group


async def ack(alice: Person, group: str, seq: int, epoch: int, device_id: str = "phone") -> None:
    position = chat_pb2.Position(conversation_id=group, seq=seq)
    await alice.call("Ack", chat_pb2.AckRequest(positions=[position], device_id=device_id, epoch=epoch))


async def resume(alice: Person, group: str, device_id: str, epoch: int = 0) -> tuple[list[int], list[int]]:
    """Says hello; gives what resets and entries came of the group."""
    async with alice.chat(device_id=device_id, epoch=epoch) as stream:
        await stream.until(lambda: any(mark.complete for mark in stream.caught_up), "complete")
        return [reset.seq for reset in stream.resets if reset.conversation_id == group], stream.seqs(group)


async def test_seq_above_what_both_epochs_have_is_refused_and_moves_nothing(restored):
    _, alice, group = restored
    async with refusal("ACK_BEYOND_DELIVERED", conversation_id=group, delivered_seq="2"):
        await ack(alice, group, 3, 1, "one")
    assert await resume(alice, group, "one", epoch=1) == ([0], [1, 2, 3, 4])


async def test_seq_that_both_have_counts_and_the_device_is_still_told_of_the_restore(restored):
    _, alice, group = restored
    await ack(alice, group, 2, 1, "two")
    assert await resume(alice, group, "two") == ([2], [3, 4])


async def test_present_epoch_and_none_at_all_are_taken_as_they_are(restored):
    _, alice, group = restored
    present = (await alice.stub.GetServerInfo(server_info_pb2.GetServerInfoRequest(), timeout=10)).epoch
    await ack(alice, group, 3, present, "three")
    assert await resume(alice, group, "three") == ([], [4])
    await ack(alice, group, 4, 0, "three")
    assert await resume(alice, group, "three") == ([], [])


@pytest.mark.parametrize("epoch", [7, 2**62])
async def test_nothing_counts_of_an_epoch_that_never_was(restored, epoch):
    _, alice, group = restored
    async with refusal("ACK_BEYOND_DELIVERED", delivered_seq="0"):
        await ack(alice, group, 1, epoch, "four")
    await ack(alice, group, 0, epoch, "four")
    present = (await alice.stub.GetServerInfo(server_info_pb2.GetServerInfoRequest(), timeout=10)).epoch
    await ack(alice, group, 4, present, "four")
    assert await resume(alice, group, "four") == ([], [])


async def test_negative_epoch_is_refused(restored):
    _, alice, group = restored
    async with refusal("INVALID_REQUEST"):
        await ack(alice, group, 1, -1)


async def test_manual_ack_of_another_epoch_settles_nothing_above_what_both_have(restored):
    _, alice, group = restored
    async with alice.chat(device_id="five", **manual()) as stream:
        await stream.until(lambda: stream.seqs(group) == [1, 2, 3, 4], "all")
        async with refusal("ACK_BEYOND_DELIVERED", delivered_seq="2"):
            await ack(alice, group, 3, 1, "five")
        for seq, epoch in ((2, 1), (4, 0)):
            await ack(alice, group, seq, epoch, "five")
    async with alice.chat(device_id="five", **manual()) as stream:
        await stream.until(lambda: len(stream.seqs(group)) == 2, "what is unsettled")
        assert sorted(stream.seqs(group)) == [1, 3]
