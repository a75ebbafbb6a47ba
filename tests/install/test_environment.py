"""`make` and its virtual environment: made where there is none, made anew where it is not whole, else left alone."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.install.checkouts import Checkout, environment, make_checkout
from tests.support.waiting import wait_until

# Letters that shells, make, URLs, and Python's reading of path files each take for something else.
ODD_NAME = 'Übung x#1?50%, it\'s "a" $HOME `b`'


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with an environment, for tests that leave it whole."""
    checkout = make_checkout(tmp_path_factory.mktemp("checkout") / "parley")
    status, said = checkout.make()
    assert (status, said.splitlines()) == (
        0,
        ["Making a virtual environment in .venv ...", "Installing Parley's dependencies ..."],
    )
    return checkout


def is_made_anew(checkout: Checkout, **variables: str) -> bool:
    """Runs make, and says whether it made the environment anew; either way the command works after it."""
    status, said = checkout.make(**variables)
    assert status == 0, said
    assert checkout.say() == str(checkout.folder / "service" / "saying.py")
    return "making it anew" in said


def test_environment_that_is_whole_is_left_alone(whole: Checkout) -> None:
    before = (whole.venv / ".runtime").stat().st_mtime_ns
    assert whole.make() == (0, "")
    assert (whole.venv / ".runtime").stat().st_mtime_ns == before


def test_change_of_a_lock_file_installs_again_without_making_anew(whole: Checkout) -> None:
    (whole.folder / "requirements.lock").write_text("# changed\n")
    assert whole.make() == (0, "Installing Parley's dependencies ...\n")
    assert whole.make() == (0, "")


@pytest.mark.parametrize(
    "harm",
    [
        lambda venv: (venv / ".made").unlink(),  # cut off while it was made
        lambda venv: (venv / ".installing").touch(),  # cut off while pip worked
        lambda venv: ((venv / "bin/python").unlink(), (venv / "bin/python").symlink_to("/nowhere/python3")),
        lambda venv: (shutil.rmtree(venv), (venv / "lib").mkdir(parents=True)),  # cut off at once
    ],
    ids=["half made", "half installed", "its Python is gone", "begun"],
)
def test_environment_that_is_not_whole_is_made_anew(whole: Checkout, harm: Callable[[Path], object]) -> None:
    harm(whole.venv)
    assert is_made_anew(whole)
    assert not is_made_anew(whole)


def test_environment_that_came_along_with_a_copy_is_made_anew(whole: Checkout, tmp_path: Path) -> None:
    copy = Checkout(tmp_path / "copy")
    shutil.copytree(whole.folder, copy.folder, symlinks=True)
    assert is_made_anew(copy)


def test_environment_is_in_any_path_and_in_any_locale(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / ODD_NAME)
    for target in (".venv/.runtime", ".venv/.dev"):  # what the second one adds leaves the first one right
        status, said = checkout.make(LC_ALL="C", target=target)
        assert status == 0, said
    for locale in ("C", "C.UTF-8"):
        assert checkout.say(LC_ALL=locale).endswith("/service/saying.py")
        assert checkout.make(LC_ALL=locale) == (0, "")


def test_variables_and_settings_of_the_user_change_nothing(whole: Checkout, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nuser = true\nrequire-hashes = true\n[install]\ntarget = /nowhere/x\n")
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "__init__.py").write_text("raise SystemExit('not ours')\n")
    theirs = {
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_USER": "1",
        "PIP_TARGET": str(tmp_path / "target"),
        "PIP_PREFIX": str(tmp_path / "prefix"),
        "PIP_REQUIRE_HASHES": "1",
        "PIP_CONSTRAINT": "/nowhere/constraints.txt",
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": str(tmp_path),
        "VIRTUAL_ENV": "/nowhere",
    }
    (whole.venv / ".made").unlink()
    assert is_made_anew(whole, **theirs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pip.conf", "service"]


def test_interrupted_make_is_made_good_by_the_next(whole: Checkout) -> None:
    (whole.venv / ".made").unlink()
    with subprocess.Popen(
        # A shell's background job ignores Ctrl-C, and so would make, where the tests were started as one.
        ["env", "--default-signal=INT", "make", ".venv/.runtime"],
        cwd=whole.folder,
        env=environment(),
        start_new_session=True,
        stderr=subprocess.PIPE,
    ) as running:
        wait_until(
            lambda: not (whole.venv / "bin/pip").exists(), limit_seconds=20, what="an environment that is cleared"
        )
        os.killpg(running.pid, signal.SIGINT)
        assert running.stderr is not None
        assert b"Traceback (most recent call last)" not in running.stderr.read()
        assert running.wait(20) != 0
    assert is_made_anew(whole)


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_python_that_is_named_is_the_environments_and_stays(whole: Checkout, python: str) -> None:
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, text=True
    )
    if version.stdout != "True\n":
        pytest.skip(f"{python} is not there, or too old")
    whole.make(f"PYTHON={python}")
    assert whole.make(f"PYTHON={python}") == (0, "")
    assert whole.make() == (0, "")


def refuse(folder: Path, *arguments: str, **variables: str) -> str:
    """Runs make in a new checkout, which it refuses; gives the one line that is not make's own."""
    checkout = make_checkout(folder / "refused")
    (checkout.folder / "requirements.lock").write_text("no-such-package==1 --hash=sha256:" + "0" * 64 + "\n")
    status, said = checkout.make(*arguments, **variables)
    assert status == 2
    ours = [line for line in said.splitlines() if not line.startswith("make: ") and not line.endswith(" ...")]
    assert len(ours) == 1, said
    return ours[0].removeprefix("parley: ")


def write_python(folder: Path, script: str) -> str:
    """Writes a program that is taken for a Python."""
    path = folder / "python-odd"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"PYTHON={path}"


def test_python_that_is_not_there_or_too_old_is_one_line(tmp_path: Path) -> None:
    assert refuse(tmp_path / "a", "PYTHON=python-nowhere").startswith(
        "there is no python-nowhere here; install Python 3.11"
    )
    shim = write_python(tmp_path, r"printf 'pyenv: odd: command not found\n\nIt is in:\n  3.12.1\n' >&2; exit 127")
    assert "python-odd does not run (pyenv: odd: command not found); name another" in refuse(tmp_path / "c", shim)
    old = write_python(tmp_path, 'case "$*" in *split*) echo 3.9.2 ;; *) exit 1 ;; esac')
    assert re.fullmatch(
        r"Python 3.11 or newer is needed, and \S+ is 3.9.2; name another .*", refuse(tmp_path / "b", old)
    )


def test_python_without_ensurepip_is_one_line_that_names_the_package(tmp_path: Path) -> None:
    hide = "import runpy, sys; sys.modules['ensurepip'] = None; sys.argv = sys.argv[2:];"
    hide += " runpy.run_path(sys.argv[0], run_name='__main__')"
    real = shlex.quote(sys.executable)
    python = write_python(
        tmp_path, f'case "$*" in *environment.py*) exec {real} -c {shlex.quote(hide)} "$@" ;; esac\nexec {real} "$@"'
    )
    said = refuse(tmp_path, python)
    assert "can't make virtual environments: its module ensurepip is missing" in said
    assert re.search(r"apt install python3(\.\d+)?-venv\. Then run make again$", said)
    checkout = Checkout(tmp_path / "refused")
    (checkout.folder / "requirements.lock").write_text("")
    assert checkout.make()[0] == 0


def test_no_way_to_packages_is_one_line_and_the_next_make_goes_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    said = refuse(tmp_path, PIP_NO_INDEX="0", PIP_INDEX_URL=f"http://127.0.0.1:{port}/simple", PIP_RETRIES="1")
    assert said.startswith("pip can't fetch packages (")
    assert "https_proxy" in said
    checkout = Checkout(tmp_path / "refused")
    assert "no-such-package" in (checkout.venv / "pip.log").read_text()
    (checkout.folder / "requirements.lock").write_text("")
    assert checkout.make() == (0, "Installing Parley's dependencies ...\n")


def test_folder_of_something_else_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "refused" / ".venv").mkdir(parents=True)
    (tmp_path / "refused" / ".venv" / "thesis.txt").write_text("the only copy")
    assert refuse(tmp_path) == ".venv is no virtual environment of ours; remove it, or name another place: VENV=..."
    assert (tmp_path / "refused" / ".venv" / "thesis.txt").exists()
