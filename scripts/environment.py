"""Makes the virtual environment and installs into it: `environment.py VENV runtime|dev`, by way of environment.sh.

`make` runs it each time. It does nothing when what is there is whole and is of this Python, this place and these lock
files. What was cut off, moved, copied, or belongs to another Python is made anew. Uses Python's own library alone.
"""

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # -I leaves it out
from installing import InstallError, clean_environment, pip_install
from odd_paths import make_right

ROOT = Path(__file__).resolve().parents[1]
# What each part is made of; when one of these files changes, the part is installed again.
_INSTALLERS = ("scripts/environment.py", "scripts/installing.py", "scripts/odd_paths.py")
_FILES = {
    "runtime": ("requirements.lock", "pyproject.toml", "clients/python/pyproject.toml", *_INSTALLERS),
    "dev": ("requirements-dev.lock", "bench/pyproject.toml", *_INSTALLERS),
}
_PROJECTS = {"runtime": ("-e", ".", "-e", "clients/python"), "dev": ("-e", "bench")}
_COMPILED = ("service", "storage", "clients/python/parley")
# All that can be in an environment that was cut off before it had its pyvenv.cfg.
_FIRST_NAMES = {"bin", "include", "lib", "lib64", "share", ".gitignore"}


def main(venv: Path, part: str) -> None:
    """Ensures that the part is installed."""
    with _locked():
        if not _is_whole(venv):
            _make(venv)
        digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in _FILES[part])).hexdigest()
        stamp = venv / f".{part}"
        if not stamp.is_file() or stamp.read_text() != digest:
            _install(venv, part)
            stamp.write_text(digest)


def _install(venv: Path, part: str) -> None:
    _say("Installing what development needs ..." if part == "dev" else "Installing Parley's dependencies ...")
    cut_off = _cut_off(venv)
    cut_off.touch()
    (venv / f".{part}").unlink(missing_ok=True)
    try:
        pip_install(venv, "--require-hashes", "-r", _FILES[part][0])
        pip_install(venv, "--no-deps", "--no-build-isolation", *_PROJECTS[part])
        if part == "runtime":
            compiling = [str(venv / "bin/python"), "-m", "compileall", "-q", *_COMPILED]
            subprocess.run(compiling, check=False, env=clean_environment())  # a read-only checkout works without
        make_right(venv, ROOT)
    except InstallError as error:
        if error.is_network:  # nothing was changed yet
            cut_off.unlink()
        raise
    cut_off.unlink()


def _say(text: str) -> None:
    print(text, flush=True)


def _identity(venv: Path) -> dict[str, str]:
    """What an environment is of. The Python that runs this is the environment's own, or the one that was asked for."""
    return {"place": str(venv), "python": f"{sys.version_info[0]}.{sys.version_info[1]}", "base": sys.base_prefix}


def _is_whole(venv: Path) -> bool:
    try:
        made = json.loads(_made(venv).read_text())
        subprocess.run([str(venv / "bin/python"), "-I", "-c", ""], check=True, capture_output=True)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return False
    return bool(made == _identity(venv)) and not _cut_off(venv).exists()


def _make(venv: Path) -> None:
    name = os.path.relpath(venv, ROOT)
    if venv.is_dir() and any(venv.iterdir()):
        found = {path.name for path in venv.iterdir()}
        if "pyvenv.cfg" not in found and not found <= _FIRST_NAMES:
            raise InstallError(f"{name} is no virtual environment of ours; remove it, or name another place: VENV=...")
        _say(f"The virtual environment in {name} is not whole, or is of another Python or place; making it anew ...")
    else:
        _say(f"Making a virtual environment in {name} ...")
    for module in ("venv", "ensurepip"):
        try:
            importlib.import_module(module)
        except ImportError:
            raise InstallError(f"{sys.executable} can't make virtual environments: {_missing(module)}") from None
    python = getattr(sys, "_base_executable", sys.executable)  # not the one that is about to be removed
    with contextlib.suppress(FileNotFoundError):
        _made(venv).unlink()
    made = subprocess.run(
        [python, "-I", "-m", "venv", "--clear", str(venv)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=clean_environment(),
    )
    if made.returncode:
        last = (made.stdout.strip().splitlines() or ["no word of why"])[-1]
        raise InstallError(f"can't make the virtual environment {name}: {last.removeprefix('Error: ')}")
    _made(venv).write_text(json.dumps(_identity(venv)))


def _missing(module: str) -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    is_system = Path("/usr/bin/python3").resolve() == Path(sys.executable).resolve()
    package = "python3-venv" if is_system else f"python{version}-venv"
    return f"its module {module} is missing; on Debian and Ubuntu: apt install {package}. Then run make again"


def _made(venv: Path) -> Path:
    return venv / ".made"


def _cut_off(venv: Path) -> Path:
    """There while pip works; found later, pip was cut off, and may have left halves of packages."""
    return venv / ".installing"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One at a time: `make run` and `make test` may be started together."""
    descriptor = os.open(ROOT / "requirements.lock", os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    try:
        main(ROOT / sys.argv[1], sys.argv[2])
    except InstallError as problem:
        sys.exit(f"parley: {problem}")
    except OSError as problem:
        sys.exit(f"parley: can't make the virtual environment: {problem.filename}: {problem.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
