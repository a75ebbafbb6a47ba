"""Data of Debian's PostgreSQL 15 on their way to the embedded one, which is newer: a directory, and a dump."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.test_database_moves import check, fill, parley
from tests.services.postgres15 import BIN, DATABASE, PASSWORD, Postgres15
from tests.services.site import Site
from tests.support.servers import running_server


def test_directory_of_postgresql_15_is_moved_by_one_command(site: Site, postgres: Postgres15) -> None:
    data_dir = site.directory / "data"
    data_dir.mkdir(mode=0o755)
    with running_server(site.directory / "old", settings={"PARLEY_DATABASE_URL": postgres.url("parley")}) as server:
        expected = fill(server)
    keys = (site.directory / "old/keys.json").read_bytes()
    (data_dir / "keys.json").write_bytes(keys)
    (data_dir / "keys.json").chmod(0o600)
    postgres.end()
    shutil.move(site.directory / "pg15", data_dir / "postgres")
    refused = parley("serve", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0")
    assert refused.returncode == 1
    assert "parley upgrade-database" in refused.stderr
    done = parley("upgrade-database", "--database", DATABASE, "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("moved from PostgreSQL 15 to ")
    assert (data_dir / "postgres-15/PG_VERSION").read_text().strip() == "15"
    assert not list(data_dir.glob("*.parley*"))
    with running_server(data_dir) as server:
        check(server, expected)


def test_upgrade_that_is_killed_leaves_the_old_directory_and_can_be_done_again(
    site: Site, postgres: Postgres15
) -> None:
    data_dir = site.directory / "data"
    data_dir.mkdir(mode=0o755)
    with running_server(site.directory / "old", settings={"PARLEY_DATABASE_URL": postgres.url("parley")}) as server:
        expected = fill(server)
    shutil.copy(site.directory / "old/keys.json", data_dir / "keys.json")
    postgres.end()
    shutil.move(site.directory / "pg15", data_dir / "postgres")
    command = [sys.executable, "-m", "service", "upgrade-database", "--database", DATABASE, "--data-dir", str(data_dir)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as killed:
        assert killed.stderr is not None
        assert any(line.startswith("filling") for line in killed.stderr)
        killed.kill()
    assert (data_dir / "postgres/PG_VERSION").read_text().strip() == "15"
    done = parley("upgrade-database", "--database", DATABASE, "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    assert not (data_dir / "upgrade").exists()
    with running_server(data_dir) as server:
        check(server, expected)


def list_files(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "postgres").iterdir())


def test_directory_whose_data_are_not_there_is_left_as_it_was(site: Site, postgres: Postgres15) -> None:
    data_dir = site.directory / "data"
    data_dir.mkdir(mode=0o755)
    postgres.end()
    shutil.move(site.directory / "pg15", data_dir / "postgres")
    before = list_files(data_dir)
    for arguments, expected in ((("--database", DATABASE), "schema"), (("--database", "nowhere"), "nowhere")):
        done = parley("upgrade-database", *arguments, "--data-dir", str(data_dir))
        assert done.returncode == 1
        assert expected in done.stderr.splitlines()[-1]
    assert list_files(data_dir) == before
    assert not (data_dir / "postgres-15").exists()


@pytest.mark.parametrize("is_embedded", [True, False], ids=["to-embedded", "back"])
def test_dump_of_postgresql_15_and_an_export_back_to_it(site: Site, postgres: Postgres15, is_embedded: bool) -> None:
    data_dir = site.directory / "data"
    with running_server(site.directory / "old", settings={"PARLEY_DATABASE_URL": postgres.url("parley")}) as server:
        expected = fill(server)
    if is_embedded:
        command = (BIN / "pg_dump", "-Fc", "-n", "parley", "-f", site.directory / "dump")
        site.run(*command, "-d", postgres.url(), PGPASSWORD=PASSWORD)
        done = parley("import-database", str(site.directory / "dump"), "--data-dir", str(data_dir))
        assert done.returncode == 0, done.stderr
        with running_server(data_dir) as server:
            check(server, expected)
        return
    archive = str(site.directory / "archive")
    postgres.sql("CREATE DATABASE other OWNER parley", database="postgres")
    assert parley("export-database", archive, PARLEY_DATABASE_URL=postgres.url("parley")).returncode == 0
    other = {"PARLEY_DATABASE_URL": postgres.url("parley", database="other")}
    done = parley("import-database", archive, **other)
    assert done.returncode == 0, done.stderr
    with running_server(site.directory / "new", settings=other) as server:
        check(server, expected)
