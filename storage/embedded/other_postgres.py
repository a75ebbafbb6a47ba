"""A data directory that another major version of PostgreSQL made, served by that version's own programs.

Only for as long as its data are read (`parley upgrade-database`). What makes a directory's version is its file
PG_VERSION. A directory of Debian's lacks the configuration files, which are in /etc there; it gets empty ones.
"""

import shutil
from pathlib import Path

from storage.embedded.children import EmbeddedError
from storage.embedded.postgres import EmbeddedPostgres

# Where packages put the programs of one version: Debian and Ubuntu, Red Hat and Fedora, Homebrew.
_PLACES = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/homebrew/opt/postgresql@{}/bin")


def find_programs(major: int, given: Path | None) -> Path:
    """The directory with the programs of a version.

    Raises:
        EmbeddedError: they are not there, or are of another version.
    """
    places = [given] if given is not None else [Path(place.format(major)) for place in _PLACES]
    for place in places:
        if (place / "postgres").exists():
            return place
    if given is not None:
        raise EmbeddedError(f"there is no program postgres in {given}")
    raise EmbeddedError(
        f"the data are of PostgreSQL {major}, whose programs are not in {places[0]}: install them (Debian: `apt install"
        f" postgresql-{major}`), or name their bin directory with --programs"
    )


class OtherPostgres(EmbeddedPostgres):
    """The PostgreSQL of `data_dir/postgres` with the programs of its own version."""

    def __init__(self, data_dir: Path, programs: Path, major: int) -> None:
        super().__init__(data_dir)
        self._bin = programs
        self._major = major

    def installed_major(self) -> int:
        """The version that made the directory."""
        return self._major

    def _program(self, name: str) -> Path:
        return self._bin / name

    def _prepare(self) -> None:
        super()._prepare()
        for name, text in (("postgresql.conf", ""), ("pg_ident.conf", ""), ("pg_hba.conf", "local all all trust\n")):
            path = self.directory / name
            if not path.exists():
                path.write_text(text, encoding="utf-8")
                shutil.chown(path, *self._system_user) if self._system_user else None
