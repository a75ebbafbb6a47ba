"""Receipts over the wire: who watches them is told what others have and have read, on any worker."""

from parley.v1 import chat_pb2, conversation_pb2

from tests.support.people import Person, Stream, registered
from tests.support.servers import RunningServer


def position(conversation_id: str, seq: int) -> chat_pb2.Position:
    return chat_pb2.Position(conversation_id=conversation_id, seq=seq)


def known(stream: Stream, conversation_id: str) -> dict[str, tuple[int, int]]:
    """By member, the highest (delivered, read) that came of a conversation."""
    found: dict[str, tuple[int, int]] = {}
    for receipt in stream.receipts:
        if receipt.conversation_id == conversation_id:
            assert 0 <= receipt.read_seq <= receipt.delivered_seq
            old = found.get(receipt.username, (0, 0))
            found[receipt.username] = (max(old[0], receipt.delivered_seq), max(old[1], receipt.read_seq))
    return found


async def read(person: Person, conversation_id: str, seq: int) -> None:
    await person.call("MarkRead", conversation_pb2.MarkReadRequest(conversation_id=conversation_id, seq=seq))


async def test_sender_sees_what_the_other_has_and_has_read(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        async with alice.chat(watch_receipts=True) as sender, bob.chat() as reader:
            for number in range(3):
                await alice.send(group, str(number))
            await reader.until(lambda: reader.seqs(group) == [1, 2, 3], "all")
            await reader.write(ack=chat_pb2.AckFrame(positions=[position(group, 2)]))
            await sender.until(lambda: known(sender, group).get(bob.name) == (2, 0), "delivered")
            await reader.write(read=chat_pb2.ReadFrame(positions=[position(group, 1)]))
            await sender.until(lambda: known(sender, group).get(bob.name) == (2, 1), "read")
            await read(bob, group, 3)
            await sender.until(lambda: known(sender, group).get(bob.name) == (3, 3), "what is read is delivered")
            assert not reader.receipts, "nobody is told who does not watch"


async def test_any_device_counts_and_a_slower_one_takes_nothing_back(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        for number in range(5):
            await alice.send(group, str(number))
        async with alice.chat(watch_receipts=True) as sender:
            ack = chat_pb2.AckRequest(positions=[position(group, 4)], device_id="phone")
            await bob.call("Ack", ack)
            await sender.until(lambda: known(sender, group).get(bob.name) == (4, 0), "the phone")
            ack = chat_pb2.AckRequest(positions=[position(group, 2)], device_id="tablet")
            await bob.call("Ack", ack)
            await read(bob, group, 1)
            await sender.until(lambda: known(sender, group).get(bob.name) == (4, 1), "the reading")
            mine = [receipt for receipt in sender.receipts if receipt.username == bob.name]
            assert all(receipt.delivered_seq in (0, 4) for receipt in mine), mine


async def test_state_comes_after_the_past_and_holds_every_member(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        direct = f"{min(alice.name, bob.name)}:{max(alice.name, bob.name)}"
        for name in (group, direct):
            await alice.send(name, "one")
            await alice.send(name, "two")
        await bob.call("Ack", chat_pb2.AckRequest(positions=[position(group, 1), position(direct, 2)]))
        await read(bob, direct, 1)
        async with alice.chat(watch_receipts=True) as stream:
            await stream.until(lambda: len(known(stream, group)) == len(known(stream, direct)) == 2, "the state")
            assert known(stream, group) == {alice.name: (0, 0), bob.name: (1, 0)}
            assert known(stream, direct) == {alice.name: (0, 0), bob.name: (2, 1)}
            assert stream.caught_up[-1].complete


async def test_one_who_left_is_not_told_and_not_told_of(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob, registered(server.target) as cid:
        group = await alice.make_group(bob, cid)
        await alice.send(group, "one")
        async with bob.chat(watch_receipts=True) as gone, alice.chat(watch_receipts=True) as stays:
            request = conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
            await alice.call("RemoveMembers", request)
            await gone.until(lambda: gone.seqs(group) == [1, 2], "the removal")
            await bob.call("Ack", chat_pb2.AckRequest(positions=[position(group, 2)]))
            await read(cid, group, 2)
            await stays.until(lambda: known(stays, group).get(cid.name) == (2, 2), "the reading")
            assert known(stays, group).get(bob.name, (0, 0)) == (0, 0)
            assert known(gone, group).get(cid.name, (0, 0)) == (0, 0)
