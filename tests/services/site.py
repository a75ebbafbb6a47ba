"""Where the services of one test live: a directory, and processes that end with it.

    with open_site() as site:
        site.spawn("redis", "redis-server", str(configuration))

As root the services run as Debian's user `postgres`, since PostgreSQL does not run as root.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

USER = "postgres" if os.geteuid() == 0 else None
# Popen's own `user` forks with Python's code in the child, which crashes now and then where gRPC has threads.
_AS_USER = ["--reuid", USER, "--regid", USER, "--clear-groups"] if USER else ["--no-new-privs"]
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


_END_SECONDS = 20


@dataclass(slots=True)
class Daemon:
    """A process of a site.

    Attributes:
        log: what it writes to standard output and error.
    """

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def text(self) -> str:
        """All it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Ends it and all below it at once."""
        kill_family(self.process.pid)
        self.process.wait()

    def stop(self, number: signal.Signals) -> None:
        """Asks it to end by a signal, and waits."""
        self.process.send_signal(number)
        self.process.wait(_END_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it and all below it."""
        for process in _family(self.process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


class Site:
    """The directory of one test's services, with a short path, and their processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._daemons: list[Daemon] = []

    def make_directory(self, name: str) -> Path:
        """Makes a directory that belongs to the user of the services."""
        directory = self.directory / name
        directory.mkdir(mode=0o700)
        own(directory)
        return directory

    def write(self, name: str, text: str, *, mode: int = 0o600) -> Path:
        """Writes a file that belongs to the user of the services."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        own(path)
        return path

    def spawn(self, name: str, *command: str | Path, namespace: str = "") -> Daemon:
        """Starts a service; it ends with the site, and with the thread that calls.

        Args:
            namespace: the network namespace that it runs in.
        """
        log = self.directory / f"{name}.log"
        prefix = ["ip", "netns", "exec", namespace] if namespace else []
        prefix += ["setpriv", "--pdeathsig", "KILL", *_AS_USER]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*prefix, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env=os.environ | {"PATH": _SEARCH, "HOME": str(self.directory)},
                start_new_session=True,
            )
        daemon = Daemon(process, log)
        self._daemons.append(daemon)
        return daemon

    def run(self, *command: str | Path, **variables: str) -> str:
        """Runs a command to its end as the user of the services; gives what it wrote to standard output."""
        done = subprocess.run(
            ["setpriv", *_AS_USER, *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=self.directory,
            env=os.environ | {"PATH": _SEARCH, "HOME": str(self.directory)} | variables,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        """Ends all that was started, the last first, and whatever that has started here."""
        for daemon in reversed(self._daemons):
            daemon.kill()
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.directory) in word for word in process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


@contextlib.contextmanager
def open_site() -> Iterator[Site]:
    """Makes a site; ends its services and removes its directory afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="parley-site-"))
    directory.chmod(0o755)
    own(directory)
    site = Site(directory)
    try:
        yield site
    finally:
        site.close()
        shutil.rmtree(directory, ignore_errors=True)


def own(path: Path) -> None:
    """Makes a path belong to the user of the services."""
    if USER is not None:
        shutil.chown(path, USER, USER)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def kill_family(pid: int) -> None:
    """Kills a process, so that it starts no other, and then all below it."""
    for process in _family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _family(pid: int) -> list[psutil.Process]:
    """A process and all below it; none when it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
