"""Small replays from end to end, against a server that the replay starts itself."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

GARDEN = """\
[23:58] <Ada> hello   all
[23:58] <bob[home]> hi Ada, \u65e5\u672c\u8a9e \U0001f44d
=== cy  has joined #garden
[23:59] <cy> did I miss anything?
[23:59]  * Ada waves
[23:59] <bob[home]>
=== bob[home] is now known as bob
[00:00] <bob> better
=== ADA  has joined #garden
[00:01] <ADA> I am another one
=== cy  has left #garden ["bye"]
=== dan  has left #garden []
[00:02] <cy> back, unseen
=== mode/#garden  by ChanServ
[00:03] <ADA> \x1b[31m\ttabs and escapes\x08
"""
LIBRARY = "".join(f"[10:{line // 4:02}] <reader{line % 7}> page {line}\n" for line in range(120))


def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clients.replay", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
        cwd=Path(__file__).parents[2],
    )


@pytest.fixture
def logs(tmp_path: Path) -> list[str]:
    (tmp_path / "garden.txt").write_text(GARDEN, encoding="utf-8")
    (tmp_path / "library.txt").write_text(LIBRARY, encoding="utf-8")
    return [str(tmp_path / "garden.txt"), str(tmp_path / "library.txt")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "mode", [["--reconnect-every", "20"], ["--unordered", "--in-flight", "30"]], ids=["ordered", "unordered"]
)
async def test_replay_finds_everything_as_in_the_files(logs: list[str], mode: list[str]) -> None:
    done = await asyncio.to_thread(replay, *mode, "--devices", "3", *logs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "same texts, same order, nothing twice, nothing missing" in done.stdout
    figures = dict(line.rsplit("  ", 1) for line in done.stdout.splitlines() if "  " in line.strip())
    counts = {name.strip(): value.strip() for name, value in figures.items()}
    assert counts["messages"] == "128"
    assert counts["empty lines, skipped"] == "1"


async def test_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = await asyncio.to_thread(replay, str(tmp_path / "none.txt"))
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1


async def test_file_without_messages_is_refused_or_plays_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    done = await asyncio.to_thread(replay, str(tmp_path / "empty.txt"))
    assert done.returncode == 2
    assert "no messages" in done.stdout
