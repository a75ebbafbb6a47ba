"""What README.md shows works as pasted.

A ```sh block with grpcurl is run; each line of the ```text block below it must be in what came out, where "..." stands
for anything.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from service.host.banner import GRPCURL
from tests.docs.pages import README, ROOT, list_blocks
from tests.support.servers import running_server

ADDRESS = "127.0.0.1:50051"
_END = "@@ end of block"


def list_calls() -> list[tuple[str, list[str]]]:
    """Lists the blocks that are to be run, each with the lines that are to come out."""
    blocks = list_blocks(README)
    following = [*blocks[1:], ("", "")]
    return [
        (code, shown.splitlines() if language == "text" else [])
        for (kind, code), (language, shown) in zip(blocks, following, strict=True)
        if kind == "sh" and "grpcurl" in code
    ]


@pytest.fixture
def target() -> Iterator[str]:
    """The address of a server that nobody has used."""
    with running_server() as running:
        yield running.target


def find_missing(expected: list[str], output: str) -> list[str]:
    """Returns the lines that did not come out."""
    lines = [line.strip().rstrip(",") for line in output.splitlines()]
    patterns = {shown: re.escape(shown.strip().rstrip(",")).replace(r"\.\.\.", ".*") for shown in expected}
    return [shown for shown, pattern in patterns.items() if not any(re.fullmatch(pattern, line) for line in lines)]


def test_grpcurl_blocks_work_as_pasted(target: str) -> None:
    calls = list_calls()
    assert len(calls) >= 8
    assert shutil.which("grpcurl"), "grpcurl comes with the development requirements"
    assert all(shown for _, shown in calls), "each block is followed by a ```text block of what comes out"
    # In one shell, as a reader would: a later block uses an earlier one's variable.
    script = "set -e\n" + "".join(f"{code.replace(ADDRESS, target)}\necho '{_END}'\n" for code, _ in calls)
    done = subprocess.run(
        ["sh"], input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=50, check=False
    )
    outputs = done.stdout.split(_END)
    for (code, shown), output in zip(calls, outputs, strict=False):
        assert find_missing(shown, output) == [], f"{code}\ngave\n{output}"
    assert done.returncode == 0, done.stdout
    assert len(outputs) == len(calls) + 1


def test_what_is_shown_of_a_file_is_that_file() -> None:
    files = re.findall(r"^`\.venv/bin/python (clients/\S+\.py)`", README.read_text(), re.MULTILINE)
    shown = [content for language, content in list_blocks(README) if language == "python"]
    assert len(files) == 2
    assert shown == [(ROOT / file).read_text() for file in files]


def test_line_that_installs_grpcurl_is_that_of_the_first_screen() -> None:
    assert f"    .venv/bin/pip install {GRPCURL}\n" in README.read_text()
