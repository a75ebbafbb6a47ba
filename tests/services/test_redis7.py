"""A Redis 7 that somebody else runs: with a password, with an ACL user, over TLS."""

import pytest

from storage.redis.troubles import ACL_RULES
from tests.services.postgres15 import Postgres15
from tests.services.redis7 import ACL_USER, PASSWORD, Redis7
from tests.services.site import Site
from tests.services.traffic import assert_kept_through, open_traffic

# What the manual asks of a user for Parley alone (docs/operations/databases.md).
_ACL = f"user {ACL_USER} on >{PASSWORD} {ACL_RULES}"


@pytest.mark.short
@pytest.mark.parametrize("kind", ["password", "acl and tls"])
async def test_restart_of_redis_costs_no_message(site: Site, postgres: Postgres15, kind: str) -> None:
    redis = Redis7(site, has_tls="tls" in kind)
    user, line = ("", f"requirepass {PASSWORD}") if kind == "password" else (ACL_USER, _ACL)

    def restart() -> None:
        redis.kill()
        redis.start()

    redis.start(line)
    settings = {
        "PARLEY_DATABASE_URL": postgres.url("parley"),
        "PARLEY_REDIS_URL": redis.url(user=user, password=PASSWORD),
    }
    async with open_traffic(settings, database_url=postgres.checker_url) as traffic:
        await assert_kept_through(f"redis 7 with {kind} restarts", traffic, restart)
