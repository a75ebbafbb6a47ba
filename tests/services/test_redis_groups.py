"""Redis 7 in groups: Sentinels whose primary dies, and a Cluster of which slots move and a node dies."""

from urllib.parse import quote

import pytest

from tests.faults.stage import Plan
from tests.services.postgres15 import Postgres15
from tests.services.redis7 import PASSWORD
from tests.services.redis_cluster import RedisCluster
from tests.services.sentinel import NAME, Sentinels
from tests.services.site import Site
from tests.services.traffic import assert_kept_through, open_traffic, wait_for_presence

# What one server says, the other must hear: half of the clients are on each.
_TWO = Plan(workers=1, nodes=2, is_pinned=True, users=3, devices=2, conversations=3, rate=100.0)


@pytest.mark.short
async def test_failover_by_sentinels_costs_no_message(site: Site, postgres: Postgres15) -> None:
    sentinels = Sentinels(site, password=PASSWORD)
    sentinels.start()
    settings = {
        "PARLEY_DATABASE_URL": postgres.url("parley"),
        "PARLEY_REDIS_URL": f"redis+sentinel://:{quote(PASSWORD, safe='')}@{','.join(sentinels.hosts)}/{NAME}/0",
    }
    async with open_traffic(settings, database_url=postgres.checker_url, plan=_TWO) as traffic:
        await assert_kept_through("redis sentinel", traffic, sentinels.fail_over)
        await wait_for_presence(traffic)


async def test_resharding_and_death_of_a_node_of_a_cluster_cost_no_message(site: Site, postgres: Postgres15) -> None:
    cluster = RedisCluster(site)
    cluster.start()
    settings = {
        "PARLEY_DATABASE_URL": postgres.url("parley"),
        "PARLEY_REDIS_URL": f"redis+cluster://{','.join(cluster.hosts)}",
    }
    async with open_traffic(settings, database_url=postgres.checker_url, plan=_TWO) as traffic:
        await assert_kept_through("redis cluster", traffic, cluster.move_slots, cluster.fail_over)
        await wait_for_presence(traffic)
