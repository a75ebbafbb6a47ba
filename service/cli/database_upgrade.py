"""Moves the embedded PostgreSQL's data to the major version that is installed now: `parley upgrade-database`.

The new directory is made whole in `data_dir/upgrade` first; then two renames put it into the old one's place. Whatever
ends this in between, a server never starts on a directory that lacks data: until the renames the old one is where it
was, and between them there is none, which `storage/embedded/postgres.py` tells from a first start.
"""

import shutil
from pathlib import Path

from service.cli.database_moves import Tell, export_all, held, import_all, running
from service.settings.start_error import StartError
from service.settings.tree import Settings
from storage.embedded import EmbeddedPostgres
from storage.embedded.other_postgres import OtherPostgres, find_programs
from storage.embedded.postgres import UPGRADE, read_major, sync_directory


def upgrade_embedded(
    settings: Settings, programs: Path | None, *, database: str = "postgres", tell: Tell
) -> tuple[int, int, Path] | None:
    """Moves the data; goes on with a move that was cut off.

    The old directory is kept beside the new one, under the name `postgres-MAJOR`.

    Args:
        programs: the `bin` directory of the old version; None: looked for where Debian and its like have it.
        database: of the old directory, the one that has the schema.
        tell: called with what is done now.

    Returns:
        The old and the new major version and where the old directory is; None: there is nothing to do.

    Raises:
        StartError, EmbeddedError: it can't be done; all is as it was.
    """
    if settings.database.url is not None:
        raise StartError("database.url names a PostgreSQL of your own; its upgrade is that server's (pg_upgrade)")
    with held(settings.data_dir) as data_dir:
        server, place = EmbeddedPostgres(data_dir), data_dir / UPGRADE
        mark = place / "whole"  # what the old version was
        if not mark.exists():
            old_major = read_major(server.directory)
            if old_major is None:
                raise StartError(f"there is no PostgreSQL in {server.directory}")
            if old_major == server.installed_major():
                return None
            kept = _to_kept(data_dir, old_major)
            if kept.exists():
                raise StartError(f"{kept} is there already, from an earlier upgrade: move it away first")
            old = OtherPostgres(data_dir, find_programs(old_major, programs), major=old_major, database=database)
            _make_new(old, place, settings.database.db_schema, tell)
            mark.write_text(str(old_major), encoding="ascii")
            sync_directory(place)
        old_major = int(mark.read_text(encoding="ascii"))
        kept = _to_kept(data_dir, old_major)
        _exchange(server.directory, place, kept)
        return old_major, server.installed_major(), kept


def _make_new(old: OtherPostgres, place: Path, schema: str, tell: Tell) -> None:
    """Makes the new directory, with all data in it; leaves nothing where that fails."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        archive = place / "export.zip"
        tell("exporting what the old version has")
        with running(old):
            manifest = export_all(old.url, schema, archive, tell)
        with running(EmbeddedPostgres(place)) as new:
            import_all(new.url, schema, archive, manifest, tell)
        archive.unlink()
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _exchange(directory: Path, place: Path, kept: Path) -> None:
    """Puts the new directory into the old one's place; safe to do again where it was cut off."""
    fresh = place / directory.name
    if fresh.exists():
        if directory.exists():
            directory.rename(kept)
        fresh.rename(directory)
        sync_directory(directory.parent)
    shutil.rmtree(place)


def _to_kept(data_dir: Path, major: int) -> Path:
    return data_dir / f"postgres-{major}"
