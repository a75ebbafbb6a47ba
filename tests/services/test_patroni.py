"""PostgreSQL under Patroni: the server follows a switchover and a failover, and nothing acknowledged is lost."""

import pytest

from tests.services.patroni import Patroni
from tests.services.site import Site
from tests.services.traffic import assert_kept_through, open_traffic


@pytest.mark.timeout(400)
async def test_switchover_and_failover_cost_no_message(site: Site) -> None:
    patroni = Patroni(site)
    patroni.start()
    async with open_traffic({"PARLEY_DATABASE_URL": patroni.url}, database_url=patroni.checker_url) as traffic:
        await assert_kept_through("patroni", traffic, patroni.switch_over, patroni.kill_primary)
