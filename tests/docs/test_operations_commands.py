"""What the operations pages show of `parley` works as pasted, in order, beside a server that nobody has used.

A ```sh block is run; each line of the ```text block below it must be in what came out, where "..." stands for anything.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, list_blocks
from tests.support.servers import running_server

RUN = ["accounts", "keys", "backup", "growth", "upgrade"]
_END = "@@ end of block"
_PRELUDE = """set -e
parley() { "$PYTHON" -m service "$@"; }
python() { "$PYTHON" "$@"; }
ln -s "$PARLEY_DATA_DIR" .parley
"""


def list_commands(page: Path) -> list[tuple[str, list[str]]]:
    """Lists the blocks that are to be run, each with the lines that are to come out."""
    blocks = list_blocks(page)
    return [
        (code, shown.splitlines() if language == "text" else [])
        for (kind, code), (language, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True)
        if kind == "sh"
    ]


def find_missing(expected: list[str], output: str) -> list[str]:
    """Returns the lines that did not come out; blanks and tabs are alike."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    patterns = {shown: re.escape(" ".join(shown.split())).replace(r"\.\.\.", ".*") for shown in expected}
    return [shown for shown, pattern in patterns.items() if not any(re.fullmatch(pattern, line) for line in lines)]


@pytest.mark.parametrize("page", sorted((ROOT / "docs/operations").glob("*.md")), ids=lambda page: page.stem)
def test_page_shows_commands_of_parley_only_in_blocks_that_are_run(page: Path) -> None:
    shown = [line for line in page.read_text().splitlines() if line.startswith("    parley ")]
    assert shown == []
    assert page.stem in RUN or not [code for kind, code in list_blocks(page) if kind == "sh"]


@pytest.mark.parametrize("name", RUN)
def test_commands_of_the_page_work_as_pasted(name: str, tmp_path: Path) -> None:
    commands = list_commands(ROOT / "docs" / "operations" / f"{name}.md")
    assert commands
    assert all(shown for _, shown in commands), "each block is followed by a ```text block of what comes out"
    script = _PRELUDE + "".join(f"{code}\necho '{_END}'\n" for code, _ in commands)
    with running_server() as server:
        done = subprocess.run(
            ["sh"],
            input=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHON": sys.executable,
                "PYTHONPATH": str(ROOT),
                "PARLEY_DATA_DIR": str(server.data_dir),
            },
            timeout=55,
            check=False,
        )
    outputs = done.stdout.split(_END)
    for (code, shown), output in zip(commands, outputs, strict=False):
        assert find_missing(shown, output) == [], f"{code}\ngave\n{output}"
    assert done.returncode == 0, done.stdout
