"""The short examples run as the README shows them, again and again."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parents[2] / "clients"
EXAMPLES = [
    CLIENTS / "python" / "examples" / "hello_grpcio.py",
    CLIENTS / "python-betterproto" / "examples" / "hello_betterproto.py",
]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_example_sends_and_receives_each_time(server: Any, path: Path) -> None:
    outputs = [
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error::SyntaxWarning", str(path), server.target],
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=False,
        )
        for _ in range(2)
    ]
    for done in outputs:
        assert done.returncode == 0, done.stderr
        stored, received = sorted(done.stdout.splitlines(), reverse=True)
        seq = int(stored.removeprefix("stored as "))
        assert received.startswith(f"received {seq} from hello-")
        assert received.endswith(": Hello, Parley!")
    first, second = (int(done.stdout.split("stored as ")[1].split()[0]) for done in outputs)
    assert second == first + 1
