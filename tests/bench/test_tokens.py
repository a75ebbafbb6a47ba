"""Runs that are longer than a token's life, and what is left on a server afterwards."""

import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from bench.connections import Address
from bench.meter import Meter
from bench.scenarios.mixed import Mixed
from bench.site import site_at
from bench.window import Window
from storage.embedded import EmbeddedPostgres
from tests.bench.running import bench
from tests.support.servers import RunningServer, running_server

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def hasty() -> Iterator[RunningServer]:
    """A server whose access tokens live for five seconds."""
    with running_server(settings={"PARLEY_AUTH_ACCESS_TOKEN_SECONDS": "5"}) as server:
        yield server


async def count_accounts(server: RunningServer) -> dict[bool, int]:
    """How many accounts there are, by whether they are deleted."""
    connection = await asyncpg.connect(EmbeddedPostgres(server.data_dir).url)
    try:
        rows = await connection.fetch("SELECT delete_time IS NOT NULL, count(*) FROM parley.users GROUP BY 1")
    finally:
        await connection.close()
    return dict(rows)


@pytest.mark.parametrize(
    "scenario",
    [
        ("chat", "--conversations", "1"),
        ("send", "--outstanding", "2", "--conversations", "1"),
        ("pull", "--history", "50"),
    ],
    ids=lambda scenario: scenario[0],
)
async def test_run_outlives_its_tokens_and_leaves_no_account(
    hasty: RunningServer, tmp_path: Path, scenario: tuple[str, ...]
):
    ended = bench(tmp_path, *scenario, "--target", hasty.target, "--warmup", "0", "--seconds", "6")
    assert ended.status == 0, ended.errors
    assert ended.run.errors == {}
    accounts = await count_accounts(hasty)
    assert accounts.get(False, 0) == 0
    assert accounts[True] >= 2


async def test_two_senders_of_one_conversation_are_waited_for_to_the_later_ones_last():
    with running_server() as server:
        async with site_at(Address(server.target), None, lambda _: None, lambda _: None) as site:
            scenario = Mixed(streams=2, conversations=1, members=2, rate=100, typing=0, watched=0)
            (part,) = await scenario.prepare(site, 1)
            load = part.start(Meter())
            await load.open()
            now = time.monotonic_ns()
            await load.run(Window(now, now, now + 500_000_000))
            last_seqs = load.last_seqs()
            evidence = await load.close()
            assert evidence is not None
            for name, seq in last_seqs.items():
                assert seq == max(max(acks.seqs, default=0) for acks in evidence.acks[name])
