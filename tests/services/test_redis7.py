"""A Redis 7 that somebody else runs: with a password, with an ACL user, over TLS."""

import re
from pathlib import Path

import pytest

from tests.services.postgres15 import Postgres15
from tests.services.redis7 import ACL_USER, PASSWORD, Redis7
from tests.services.site import Site
from tests.services.traffic import assert_kept_through, open_traffic, wait_for_presence

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "databases.md"


def documented_user() -> str:
    """The user that the manual gives Parley, as a line of redis.conf."""
    (rules,) = re.findall(rf"^    ACL SETUSER {ACL_USER} on >password (.+)$", PAGE.read_text(), re.MULTILINE)
    return f"user {ACL_USER} on >{PASSWORD} {rules}"


@pytest.mark.short
@pytest.mark.parametrize("kind", ["password", "acl and tls"])
async def test_restart_of_redis_costs_no_message(site: Site, postgres: Postgres15, kind: str) -> None:
    redis = Redis7(site, has_tls="tls" in kind)
    user, line = ("", f"requirepass {PASSWORD}") if kind == "password" else (ACL_USER, documented_user())

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
        await wait_for_presence(traffic)
