"""A PostgreSQL primary with a synchronous standby, and what can happen to them: for tests of failover.

    with running_cluster() as cluster:
        Database(cluster.url)            # both hosts; the service finds out which one is the primary
        cluster.primary.kill()           # fenced: the postmaster and all its backends, at once
        cluster.promote()                # the standby is the primary now, on the next timeline
        cluster.revive_old()             # the old primary comes back as if nothing had happened, on the lower timeline
        cluster.rebuild_standby()        # or: the old primary's place is taken by a fresh standby of the new one

Both listen on Unix sockets alone. A commit waits for the standby (`synchronous_standby_names`), so what the primary
acknowledged is there after `promote`. Everything here blocks; call it by `asyncio.to_thread` where a loop must run on.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil

from storage.embedded import EmbeddedPostgres
from storage.embedded.children import child_options
from tests.support.spawning import Spawned
from tests.support.waiting import wait_until

_STANDBY_NAME = "parley_standby"
_COMMAND_SECONDS = 60


class Node(Spawned, EmbeddedPostgres):
    """One server, in a data directory of its own."""

    def sql(self, statement: str) -> str:
        """Runs one statement by psql; gives the first column of its rows, a line each."""
        command = [str(self._program("psql")), "-XAtqc", statement, *self._where(), "-d", "postgres"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def host(self) -> str:
        """The directory of its socket, as a URL's `host` has it."""
        return str(self.socket_path.parent)

    @property
    def timeline(self) -> int:
        """The timeline that a primary writes on."""
        return int(self.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[:8], 16)

    def require_standby(self, names: str) -> None:
        """Has commits wait for standbys of these names ("": for none)."""
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.sql("SELECT pg_reload_conf()")
        wait_until(lambda: self.sql("SHOW synchronous_standby_names") == names, what="the setting")

    def configure(self, **settings: str) -> None:
        """Sets what a start reads; it must not be running. Later ones override earlier ones."""
        with (self.directory / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def own(self, path: Path) -> None:
        """Makes a directory belong to the user that it runs as."""
        if self._system_user is not None:
            os.chown(path, *self._system_user)

    def kill(self) -> None:
        """Ends it and all its backends at once, as a power cut does; nothing of it can commit afterwards."""
        self._signal_all(signal.SIGKILL)
        process, self.process = self.process, None
        if process is not None:
            process.wait()

    def freeze(self) -> None:
        """Stops it and all its backends where they are: connections stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen one go on."""
        self._signal_all(signal.SIGCONT)

    def copy_from(self, primary: "Node") -> None:
        """Becomes a standby of `primary`, from a fresh copy, and starts. It must not be running."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._install, self._system_user = primary._install, primary._system_user
        command = [
            *(str(self._program("pg_basebackup")), "-D", str(self.directory), "-X", "stream", "-c", "fast"),
            *("-R", "-d", f"application_name={_STANDBY_NAME} host={primary.host} port=5432 user=postgres"),
        ]
        options = child_options(primary.directory, self._system_user, signal.SIGKILL)
        del options["preexec_fn"]
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        self.own(self.data_dir)  # so that pg_basebackup can make the directory
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
        )
        assert done.returncode == 0, done.stdout
        for copied in self.directory.glob(".s.PGSQL.*"):  # the primary's socket is in its directory
            copied.unlink()
        self.start()

    def _where(self) -> list[str]:
        return ["-h", self.host, "-p", "5432", "-U", "postgres"]

    def _signal_all(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self.process.pid)
            children = postmaster.children(recursive=True)
            # The postmaster first: it must start no other meanwhile, nor see that its children end.
            for process in (postmaster, *children):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)


class Cluster:
    """A primary and its synchronous standby.

    Attributes:
        primary: the one that takes writes; after `promote` it is the former standby.
        standby: the other one.
    """

    def __init__(self, directory: Path) -> None:
        self.primary = Node(directory / "a")
        self.standby = Node(directory / "b")
        self._hosts: list[str] = []

    @property
    def url(self) -> str:
        """Both hosts, always in the same order: the first primary first."""
        hosts = ",".join(quote(host, safe="/") for host in self._hosts)
        return f"postgresql://postgres@/postgres?host={hosts}&port=5432,5432"

    def start(self) -> None:
        """Makes and starts both."""
        self.primary.start()
        self.standby.copy_from(self.primary)
        self._hosts = [self.primary.host, self.standby.host]
        self._require_standby()

    def promote(self) -> None:
        """Makes the standby the primary; fence the old one before (`primary.kill()`, or `freeze()`).

        The new primary waits for no standby until `rebuild_standby`.
        """
        assert self.standby.sql("SELECT pg_promote(true, 60)") == "t"
        self.primary, self.standby = self.standby, self.primary
        self.primary.require_standby("")

    def revive_old(self) -> None:
        """Starts the killed old primary again, on its lower timeline, and lets it commit without a standby."""
        self.standby.configure(synchronous_standby_names="")
        self.standby.start()

    def rebuild_standby(self) -> None:
        """Puts a fresh standby of the primary into the old one's place, whatever that is doing; commits wait for it."""
        self.standby.thaw()
        self.standby.kill()
        self.standby.copy_from(self.primary)
        self._require_standby()

    def stop(self) -> None:
        """Ends both."""
        for node in (self.primary, self.standby):
            node.thaw()
            node.kill()

    def _require_standby(self) -> None:
        self.primary.require_standby(_STANDBY_NAME)
        in_step = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: self.primary.sql(in_step) == "1", limit_seconds=30, what="a standby in step")


@contextlib.contextmanager
def running_node(**settings: str) -> Iterator[Node]:
    """Starts one server with settings of its own in a short directory; ends it and removes the directory afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="parley-node-"))
    node = Node(directory)
    try:
        node.start()
        if settings:
            node.kill()
            node.configure(**settings)
            node.start()
        yield node
    finally:
        node.thaw()
        node.kill()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Starts a cluster in a short directory of its own; ends it and removes the directory afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="parley-pair-"))
    cluster = Cluster(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)
