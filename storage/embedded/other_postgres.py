"""A data directory that another major version of PostgreSQL made, served by that version's own programs.

Only for as long as its data are read (`parley upgrade-database`), on a private socket, and with a configuration of its
own: a directory of Debian's has none, and who may log in there is of no matter here.
"""

import os
from pathlib import Path
from urllib.parse import quote

from storage.embedded.children import EmbeddedError
from storage.embedded.postgres import EmbeddedPostgres

# Where packages put the programs of one version: Debian and Ubuntu, Red Hat and Fedora, Homebrew.
_PLACES = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/homebrew/opt/postgresql@{}/bin")
_TRUST = "local all all trust\n"


def find_programs(major: int, given: Path | None) -> Path:
    """The directory with the programs of a version.

    Raises:
        EmbeddedError: they are not there.
    """
    places = [given.expanduser()] if given is not None else [Path(place.format(major)) for place in _PLACES]
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
    """The PostgreSQL of `data_dir/postgres` with the programs of its own version.

    Args:
        programs: the directory of that version's programs.
        major: that version.
        database: where Parley's schema is.
    """

    def __init__(self, data_dir: Path, programs: Path, *, major: int, database: str) -> None:
        super().__init__(data_dir)
        self._programs = programs
        self._major = major
        self._database = database

    @property
    def url(self) -> str:
        """A URL of the database that has the schema."""
        return super().url.replace("/postgres?", f"/{quote(self._database, safe='')}?", 1)

    def installed_major(self) -> int:
        """The version that made the directory."""
        return self._major

    def stop(self) -> None:
        """Shuts the server down, and takes its configuration away."""
        super().stop()
        for path in self._configuration():
            path.unlink(missing_ok=True)

    def _program(self, name: str) -> Path:
        return self._programs / name

    def _command(self) -> list[str]:
        main, access, names = self._configuration()
        for path, text in ((main, ""), (access, _TRUST), (names, "")):
            path.write_text(text, encoding="utf-8")
            if self._system_user is not None:
                os.chown(path, *self._system_user)
        files = {"config_file": main, "hba_file": access, "ident_file": names}
        return super()._command() + [part for name, path in files.items() for part in ("-c", f"{name}={path}")]

    def _configuration(self) -> list[Path]:
        names = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")
        return [self.directory / f"parley-upgrade-{name}" for name in names]
