"""What a worker sets up before it serves."""

import json
import os
import subprocess
import sys
from pathlib import Path

from service.host.roles import WORKER
from service.host.serving_process import ServingProcess
from service.settings.handoff import to_plain
from service.settings.tree import DatabaseSettings, RedisSettings, Secret, Settings
from service.worker.main import GRPC_EXPERIMENTS
from tests.support.waiting import wait_until

_START_SERVER = "import asyncio, grpc\nasync def start(): grpc.aio.server()\nasyncio.run(start())"


def test_grpc_knows_what_workers_turn_off() -> None:
    """A name that this version of grpcio does not know changes nothing, but for a line on stderr."""
    environment = {**os.environ, "GRPC_EXPERIMENTS": GRPC_EXPERIMENTS}
    done = subprocess.run([sys.executable, "-c", _START_SERVER], env=environment, capture_output=True, timeout=30)
    assert done.returncode == 0
    assert b"experiment" not in done.stderr


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    worker = ServingProcess(WORKER, 0)
    settings = Settings(
        listen="127.0.0.1:0",
        data_dir=tmp_path,
        database=DatabaseSettings(url=Secret("postgresql://u@127.0.0.1:1/d")),
        redis=RedisSettings(url=Secret("redis://127.0.0.1:1")),
    )
    try:
        worker.spawn()
        worker.hand(json.dumps(to_plain(settings)).encode())
        end = wait_until(worker.find_end, limit_seconds=30, what="its end")
        assert "refused" in end.text
        assert not end.is_planned
    finally:
        worker.discard()
