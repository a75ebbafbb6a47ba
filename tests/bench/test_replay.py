"""Small replays from end to end, against a server that the replay starts itself."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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
        [sys.executable, "-m", "bench.replay", *arguments],
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


def assert_all_is_the_same(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "same texts, same order, nothing twice, nothing missing" in done.stdout
    assert re.search(r"^ messages +128 *$", done.stdout, re.MULTILINE)
    assert re.search(r"^ empty lines, skipped +1 *$", done.stdout, re.MULTILINE)


@pytest.mark.timeout(120)
async def test_replay_on_a_server_of_its_own_finds_everything_as_in_the_files(logs: list[str]) -> None:
    done = await asyncio.to_thread(replay, "--reconnect-every", "20", "--devices", "3", *logs)
    assert_all_is_the_same(done)


@pytest.mark.timeout(120)
async def test_unordered_replay_on_a_running_server_can_be_repeated(server: Any, logs: list[str]) -> None:
    place = ["--target", server.target, "--data-dir", str(server.data_dir)]
    for speakers in ("stay", "come-and-go"):  # the users are there the second time
        mode = ["--unordered", "--in-flight", "30", "--speakers", speakers]
        done = await asyncio.to_thread(replay, *mode, *place, *logs)
        assert_all_is_the_same(done)


async def test_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = await asyncio.to_thread(replay, str(tmp_path / "none.txt"))
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1


async def test_file_without_messages_is_refused_or_plays_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    done = await asyncio.to_thread(replay, str(tmp_path / "empty.txt"))
    assert done.returncode == 2
    assert "no messages" in done.stdout
