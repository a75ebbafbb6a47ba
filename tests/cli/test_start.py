"""The first moments of the command `parley`, before anything of it has taken the signals over."""

import subprocess
import sys
from pathlib import Path

import pytest

# Ctrl-C comes while this module is looked for.
_INTERRUPTED = """
import signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["parley", *{arguments!r}]
from service.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("service.host.signals", ["serve"]),
        ("service.cli.health_probe", ["health"]),
        ("service.cli.users", ["user", "list"]),
    ],
)
def test_ctrl_c_while_modules_load_ends_without_a_traceback(module: str, arguments: list[str]) -> None:
    program = _INTERRUPTED.format(module=module, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["config"], ["config", "--example"], ["--version"]])
def test_output_that_finds_no_room_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "parley: can't write: No space left on device\n")
