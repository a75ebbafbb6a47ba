"""Faults in which one message is all there is: what is lost then, no later message brings up.

Each has two servers on the same databases and clients that stay on one of them, so that it is known who is where.
"""

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.actions import is_publisher
from tests.faults.bounds import Bound, Measured
from tests.faults.client import Client
from tests.faults.failpoints import LAST_WORDS
from tests.faults.final_log import read_last_seqs
from tests.faults.stage import Plan, Stage
from tests.support.waiting import wait_for

# Each of the two users has a device on each node.
TWO_NODES = Plan(workers=1, nodes=2, is_pinned=True, users=2, devices=2, conversations=1)
# Requests of a storm.
STORM_COUNT = 300
# Each of the two users is on a node of their own. What is not a stream goes to the first node, whatever the seed is: a
# member that is added on the second one is heard of there without the bus.
A_NODE_EACH = Plan(workers=1, nodes=2, is_pinned=True, prefers_first_node=True, users=2, devices=1, conversations=1)


async def lose_publication(stage: Stage) -> None:
    """What is published of a conversation's last message never arrives; the subscriptions live on."""
    client, conversation_id = await _begin(stage)
    lose = _lose_publications_to(stage, conversation_id)
    await stage.say(client, conversation_id)
    await lose()


async def lose_answer(stage: Stage) -> None:
    """The last message is committed, and PostgreSQL's answer does not reach the worker."""
    client, conversation_id = await _begin(stage)
    assert stage.postgres_proxy is not None
    stage.postgres_proxy.swallow_answers()
    stage.send(client, conversation_id)

    async def is_committed() -> bool:
        return (await read_last_seqs(stage.database_url))[conversation_id] == 2

    await wait_for(is_committed, what="the commit")
    stage.postgres_proxy.restore()
    stage.postgres_proxy.drop()
    await wait_for(lambda: not client.waiting_count, limit_seconds=30, what="the answer")


async def die_with_last_words(stage: Stage) -> None:
    """A worker dies between the commit of the last message and its publication (`die_before_publish`)."""
    client, conversation_id = await _begin(stage)
    await stage.say(client, conversation_id, LAST_WORDS)


async def time_last_words(stage: Stage) -> None:
    """As `die_with_last_words`; measures when those on the other node have them."""
    await die_with_last_words(stage)
    await stage.settle()
    others = {client.device for client in stage.clients[1::2]}
    arrivals = [
        delivery.time
        for delivery in stage.history.deliveries
        if delivery.device in others and delivery.text.startswith(LAST_WORDS)
    ]
    invoked = next(event.time for event in stage.history.events if event.text.startswith(LAST_WORDS))
    stage.measured.append(Measured(Bound.LAST_WORDS, max(arrivals) - invoked))


async def add_user_unheard(stage: Stage) -> None:
    """A user on the second node is put into a conversation of the first, unheard; then all connect to the bus anew."""
    await _begin(stage)
    assert stage.redis_proxy is not None
    one, other = stage.people
    conversation_id = await stage.add_conversation(one)
    await stage.say(stage.clients[0], conversation_id)
    lose = _lose_publications_to(stage, other.name)
    await stage.add_member(conversation_id, one, other)
    await lose()
    stage.redis_proxy.drop()
    await stage.say(stage.clients[0], conversation_id)


async def stop_reading_and_leave(stage: Stage) -> None:
    """A device stops reading, its connection breaks with much in it, and the device comes back."""
    assert stage.client_proxy is not None
    (conversation_id,) = stage.members
    slow = stage.add_client(stage.people[0], "slow", has_small_window=True)
    await stage.connect_all()
    slow.stop_reading()
    sender = stage.clients[0]
    for _ in range(1500):
        stage.send(sender, conversation_id)
    await wait_for(lambda: not sender.waiting_count, limit_seconds=30, what="the answers")
    stage.client_proxy.drop()
    slow.go_on_reading()


async def send_over_several_streams(stage: Stage) -> None:
    """The same requests over streams on both nodes, in the same order, at once."""
    (conversation_id,) = stage.members
    username = stage.people[0].name
    copies = [client for client in stage.clients if client.username == username]
    for number in range(STORM_COUNT):
        for client in copies:
            client.submit(conversation_id, f"r{number}", f"text {number} of {username}")
        if number % 20 == 0:
            await asyncio.sleep(0)
    await wait_for(lambda: not any(client.waiting_count for client in copies), limit_seconds=40, what="the answers")


async def lose_primary_after_its_standby(stage: Stage) -> None:
    """A commit that never reached the standby becomes visible on the primary, which then is gone for good.

    It becomes visible because somebody ends the backend that waits for the standby.
    """
    client, conversation_id = await _begin(stage)
    assert stage.cluster is not None
    primary = stage.cluster.primary
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%append_entries%'"

    async def is_waiting() -> bool:
        return await asyncio.to_thread(primary.sql, waiting) != "0"

    async def is_answered_or_waiting() -> bool:
        return not client.waiting_count or await is_waiting()

    await asyncio.to_thread(stage.cluster.standby.kill)
    stage.send(client, conversation_id)
    await wait_for(is_waiting, what="a commit that waits for the standby")
    ended = await asyncio.to_thread(primary.sql, waiting.replace("count(*)", "count(pg_terminate_backend(pid))"))
    assert ended == "1"
    await wait_for(is_answered_or_waiting, what="the second attempt")
    await asyncio.to_thread(primary.kill)
    await asyncio.to_thread(stage.cluster.standby.start)
    await asyncio.to_thread(stage.cluster.promote)
    stage.database_url = stage.cluster.primary.url
    await wait_for(lambda: not client.waiting_count, limit_seconds=30, what="the answer")


async def _begin(stage: Stage) -> tuple[Client, str]:
    """Sends one message that all devices get; gives a client of the first node, and the conversation."""
    (conversation_id,) = stage.members
    await stage.say(stage.clients[0], conversation_id)
    await stage.settle()
    return stage.clients[0], conversation_id


def _lose_publications_to(stage: Stage, name: str) -> Callable[[], Awaitable[None]]:
    """Has what is published on this channel vanish; the answer waits until something has, and ends it."""
    proxy = stage.redis_proxy
    assert proxy is not None
    proxy.swallow(lambda _, data: b"PUBLISH" in data and name.encode() in data)

    async def lose() -> None:
        await wait_for(lambda: proxy.swallowed_bytes, what="the loss")
        proxy.restore()
        proxy.drop(lambda link: is_publisher(link, b""))

    return lose
