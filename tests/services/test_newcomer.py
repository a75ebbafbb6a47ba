"""A newcomer's first minutes: `make run` on a machine that has Python and make, and nothing else.

What is fetched comes from where this machine's pip takes it. The times from nothing are printed: `make test-newcomer`.
"""

import re
import time
from collections.abc import Iterator

import pytest

from tests.services.debian import Debian, unpacked
from tests.services.newcomer import Newcomer

INSTALL_SECONDS = 400
LIMIT_SECONDS = 600


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A machine without python3-venv."""
    with unpacked(tmp_path_factory.mktemp("bare") / "debian") as debian:
        debian.run("useradd", "--create-home", "--uid", "1000", "newcomer")
        yield debian


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A machine with python3-venv."""
    with unpacked(tmp_path_factory.mktemp("ready") / "debian") as debian:
        debian.install("python3-venv")
        yield debian


@pytest.fixture
def reporter(capsys: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """Lines that are printed, also when the test passes."""
    lines: list[str] = []
    yield lines
    with capsys.disabled():
        print("".join(f"\n{line}" for line in lines), end="")


def watch_start(newcomer: Newcomer) -> float:
    """Runs `make run` to its first screen, asks for its health, and ends it; gives the seconds to the screen."""
    began = time.monotonic()
    with newcomer.running() as terminal:
        terminal.sees("Parley is ready on ", INSTALL_SECONDS)
        took = time.monotonic() - began
        found = re.search(r"127\.0\.0\.1:\d+", terminal.sees("Data: "))
        assert found
        assert "terminal_chat" in terminal.sees("--user alice")
        assert newcomer.run(".venv/bin/parley", "health") == (0, f"{found[0]} SERVING\n")
    return took


@pytest.mark.timeout(LIMIT_SECONDS)
def test_newcomer_is_told_what_is_missing_and_installing_it_is_enough(bare: Debian, reporter: list[str]) -> None:
    newcomer = Newcomer(bare, "1000:1000", "/home/newcomer", "/home/newcomer/parley")
    newcomer.copy_checkout()
    status, said = newcomer.run("make", "run")
    assert status == 2
    (line,) = [line for line in said.splitlines() if line.startswith("parley: ")]
    found = re.search(
        r"its module \w+ is missing; on Debian and Ubuntu: apt install (\S+)\. Then run make again$", line
    )
    assert found, said
    assert "Traceback" not in said
    bare.install(found[1])
    first = watch_start(newcomer)
    again = watch_start(newcomer)
    reporter.append(f"make run from nothing, an ordinary user: {first:.1f} s; again: {again:.1f} s")


@pytest.mark.timeout(LIMIT_SECONDS)
def test_root_starts_from_nothing(ready: Debian, reporter: list[str]) -> None:
    newcomer = Newcomer(ready, "0:0", "/root", "/srv/parley")
    newcomer.copy_checkout()
    reporter.append(f"make run from nothing, root: {watch_start(newcomer):.1f} s")
    assert "embedded_postgres" in (ready.folder / "etc/passwd").read_text()


@pytest.mark.timeout(LIMIT_SECONDS)
def test_user_id_without_a_name_is_told_so_in_one_line(ready: Debian) -> None:
    newcomer = Newcomer(ready, "12345:12345", "", "/opt/parley")
    newcomer.copy_checkout()
    status, said = newcomer.run("make", "run")
    assert status == 2
    lines = [line for line in said.splitlines() if not line.startswith("make: ") and not line.endswith(" ...")]
    assert len(lines) == 1, said
    assert "/etc/passwd" in lines[0]
    assert not (newcomer.folder / ".parley/postgres").exists()
