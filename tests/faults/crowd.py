"""A thousand streams on a node that dies."""

from tests.faults.actions import kill_tree
from tests.faults.stage import Plan, Stage
from tests.support.waiting import wait_for

# 20 users with 50 devices each. One talks, so that it is the streams that cost.
PLAN = Plan(workers=1, nodes=2, users=20, devices=50, conversations=1, rate=5.0, prefers_first_node=True)


async def move(stage: Stage) -> None:
    """Kills the node that all are on, for good; all must get to the other, and have what was sent meanwhile."""
    (conversation_id,) = stage.members
    talker = stage.clients[0]
    await stage.say(talker, conversation_id)
    await stage.settle()
    victim = stage.servers[0]
    connected = sum(client.connect_count for client in stage.clients)
    moved_count = sum(1 for client in stage.clients if client.target == victim.target)
    begin = stage.now()
    kill_tree(victim.process.pid)
    victim.process.wait()
    await stage.say(talker, conversation_id)
    await wait_for(
        lambda: sum(client.connect_count for client in stage.clients) >= connected + moved_count,
        limit_seconds=60,
        what="all streams on the other node",
    )
    await stage.settle(60)
    stage.notes["streams moved"] = str(moved_count)
    stage.notes["all caught up after s"] = f"{stage.now() - begin:.1f}"
