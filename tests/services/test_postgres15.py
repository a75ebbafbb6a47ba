"""A PostgreSQL 15 that somebody else runs: it ends at once and comes back, and its roles may do little."""

import subprocess
import sys

import pytest

from tests.services.postgres15 import Postgres15
from tests.services.traffic import assert_kept_through, open_traffic

pytestmark = pytest.mark.short


async def test_restart_of_the_database_costs_no_message_of_a_role_that_only_reads_and_writes(
    postgres: Postgres15,
) -> None:
    migrate(postgres, "parley")
    postgres.add_role(
        "app",
        "GRANT USAGE ON SCHEMA parley TO app",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA parley TO app",
    )
    postgres.sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")

    def restart() -> None:
        postgres.stop()
        postgres.start()

    async with open_traffic({"PARLEY_DATABASE_URL": postgres.url("app")}, database_url=postgres.checker_url) as traffic:
        await assert_kept_through("postgresql 15 restarts", traffic, restart)


async def test_role_that_may_not_write_is_refused_at_the_start(postgres: Postgres15) -> None:
    migrate(postgres, "parley")
    postgres.add_role(
        "reader", "GRANT USAGE ON SCHEMA parley TO reader", "GRANT SELECT ON ALL TABLES IN SCHEMA parley TO reader"
    )
    done = parley(postgres, "reader", "serve")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "parley" in line.lower()][-1:]
    assert "GRANT" in line
    assert "INSERT" in line


def migrate(postgres: Postgres15, user: str) -> None:
    done = parley(postgres, user, "migrate")
    assert done.returncode == 0, done.stderr


def parley(postgres: Postgres15, user: str, command: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command of the server, which is to end by itself."""
    environment = {
        "PARLEY_DATABASE_URL": postgres.url(user),
        "PARLEY_DATA_DIR": str(postgres.directory.parent / "data"),
        "PARLEY_LISTEN": "127.0.0.1:0",
        "PATH": "/usr/bin:/bin",
    }
    words = [sys.executable, "-m", "service", command]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=40)
