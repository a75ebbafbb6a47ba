"""The short examples are short, and run as the README shows them, again and again."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parents[2] / "clients"
GRPCIO = CLIENTS / "python" / "examples" / "hello_grpcio.py"
BETTERPROTO = CLIENTS / "python-betterproto" / "examples" / "hello_betterproto.py"
MAX_LINES = 20


@pytest.mark.parametrize("path", [GRPCIO, BETTERPROTO], ids=lambda path: path.stem)
def test_example_has_at_most_twenty_lines(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= MAX_LINES


@pytest.mark.parametrize(
    ("path", "result", "message"),
    [
        (GRPCIO, r"^stored as (\d+)$", r"^received (\d+) from hello-grpcio: Hello, Parley!$"),
        (
            BETTERPROTO,
            r"^SendResult\(.*\bseq=(\d+),.*\)$",
            r"^Message\(.*\bseq=(\d+), sender='hello-betterproto', text='Hello, Parley!'.*\)$",
        ),
    ],
    ids=["grpcio", "betterproto"],
)
async def test_example_sends_and_receives_each_time(server: Any, path: Path, result: str, message: str) -> None:
    seqs = []
    for _ in range(3):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error::SyntaxWarning", str(path), server.target],
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (stored,) = re.findall(result, done.stdout, re.MULTILINE)
        (received,) = re.findall(message, done.stdout, re.MULTILINE)
        assert received == stored
        seqs.append(int(stored))
    assert seqs == list(range(seqs[0], seqs[0] + 3))
