"""What a worker sets up before it serves."""

import os
import subprocess
import sys

from service.worker import GRPC_EXPERIMENTS

_START_SERVER = "import asyncio, grpc\nasync def start(): grpc.aio.server()\nasyncio.run(start())"


def test_grpc_knows_what_workers_turn_off() -> None:
    """A name that this version of grpcio does not know changes nothing, but for a line on stderr."""
    environment = {**os.environ, "GRPC_EXPERIMENTS": GRPC_EXPERIMENTS}
    done = subprocess.run([sys.executable, "-c", _START_SERVER], env=environment, capture_output=True, timeout=30)
    assert done.returncode == 0
    assert b"experiment" not in done.stderr
