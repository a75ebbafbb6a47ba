"""Manual acks on a real server with two workers: each message is acked, nacked, or comes again after its deadline."""

from collections.abc import Iterator

import pytest

from tests.support.manual import QUICK, ack, attempts, dead_letters, manual, nack, send_many
from tests.support.people import registered
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def quick() -> Iterator[RunningServer]:
    """A server that is quick to give up."""
    with running_server(workers=2, settings=QUICK) as running:
        yield running
        running.stop()
    unforeseen = [line for line in running.output if '"level": "error"' in line]
    assert not unforeseen, "\n".join(unforeseen)


async def test_what_is_acked_does_not_come_again_and_the_rest_does(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, 3)
        async with bob.chat(**manual()) as stream:
            await stream.until(lambda: len(stream.seqs(group)) == 3, "three")
            assert attempts(stream, group) == [(1, 1), (2, 1), (3, 1)]
            await ack(stream, group, 2)
            await alice.send(group, "live")
            await stream.until(lambda: stream.seqs(group)[-1] == 4, "live")
            await stream.call.done_writing()
            await stream.end()
            assert not stream.errors
        async with bob.chat(**manual()) as stream:
            await stream.until(lambda: len(stream.seqs(group)) == 3, "the rest")
            assert sorted(attempts(stream, group)) == [(1, 1), (3, 1), (4, 1)]


async def test_nacked_message_comes_again_with_backoff_and_is_a_dead_letter_at_last(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, 2)
        async with bob.chat(**manual()) as stream:
            await stream.until(lambda: len(stream.seqs(group)) == 2, "both")
            for attempt in (1, 2, 3):
                await stream.until(lambda a=attempt: (1, a) in attempts(stream, group), f"attempt {attempt}")
                await nack(stream, group, 1, reason=f"failure {attempt}")
            (letter,) = await wait_for(lambda: dead_letters(bob), what="the dead letter")
            assert (letter.message.text, letter.attempts, letter.last_reason) == ("0", 3, "failure 3")
            assert attempts(stream, group) == [(1, 1), (2, 1), (1, 2), (1, 3)]
            assert not stream.errors
            assert await stream.refused(await ack(stream, group, 1)) == "DELIVERY_NOT_HELD"
