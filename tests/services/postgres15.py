"""PostgreSQL 15 of Debian, with passwords, over TCP: as somebody else runs it.

`postgres` is the superuser; the database is `chat`. `add_role` makes others. The tests themselves use its Unix socket.
"""

import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from tests.services.site import Daemon, Site, free_port
from tests.support.waiting import wait_until

BIN = Path("/usr/lib/postgresql/15/bin")
SUPERUSER = "postgres"
DATABASE = "chat"
PASSWORD = "s/e#c[r@t%"


class Postgres15:
    """One server.

    Attributes:
        directory: its data directory.

    Args:
        host: the address that it listens on, of the namespace if there is one.
    """

    def __init__(self, site: Site, name: str = "pg15", *, host: str = "127.0.0.1", namespace: str = "") -> None:
        self._site = site
        self._name = name
        self._host = host
        self._namespace = namespace
        self.directory = site.directory / name
        self._daemon: Daemon | None = None
        self.port = free_port()

    def start(self, *options: str, encoding: str = "UTF8") -> None:
        """Makes the cluster, where there is none, and starts; options are `name=value` of postgresql.conf."""
        if not self.directory.exists():
            password_file = self._site.write(f"{self._name}.password", PASSWORD)
            self._site.run(
                *(BIN / "initdb", "-D", self.directory, "-U", SUPERUSER, "--pwfile", password_file, "-N"),
                *("-A", "scram-sha-256", "-E", encoding, "--locale", "C"),
            )
            hosts = self.directory / "pg_hba.conf"
            hosts.write_text(f"{hosts.read_text()}host all all samenet scram-sha-256\n")
        own_options = (f"port={self.port}", f"listen_addresses={self._host}")
        socket_option = f"unix_socket_directories={self._site.directory}"
        arguments = [word for option in (*own_options, socket_option, *options) for word in ("-c", option)]
        command = (BIN / "postgres", "-D", self.directory, *arguments)
        self._daemon = self._site.spawn(self._name, *command, namespace=self._namespace)
        wait_until(self._answers, limit_seconds=30, what="PostgreSQL 15")
        if self.sql(f"SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'", database="postgres") == "0":
            self.sql(f"CREATE DATABASE {DATABASE}", database="postgres")

    def stop(self) -> None:
        """Ends it as `pg_ctl stop -m immediate` does: all connections go, and the next start recovers."""
        assert self._daemon is not None
        self._daemon.kill()

    def end(self) -> None:
        """Ends it as an operator does."""
        assert self._daemon is not None
        self._daemon.stop(signal.SIGINT)

    def url(self, user: str = SUPERUSER, *, port: int = 0, database: str = DATABASE) -> str:
        """Where clients find it; its own port, or that of a pooler in front."""
        return f"postgresql://{user}:{quote(PASSWORD, safe='')}@{self._host}:{port or self.port}/{database}"

    @property
    def checker_url(self) -> str:
        """Where the tests find it, by its Unix socket, as the superuser."""
        socket = f"host={quote(str(self._site.directory))}&port={self.port}"
        return f"postgresql://{SUPERUSER}:{quote(PASSWORD, safe='')}@/{DATABASE}?{socket}"

    def sql(self, statement: str, *, user: str = SUPERUSER, database: str = DATABASE) -> str:
        """Runs statements by psql; gives the rows, a line each."""
        return self._site.run(
            *(
                "psql",
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                str(self._site.directory),
                "-p",
                str(self.port),
                "-U",
                user,
            ),
            *("-d", database, "-c", statement),
            PGPASSWORD=PASSWORD,
        ).strip()

    def add_role(self, name: str, *grants: str) -> None:
        """Makes a role that may log in, with further statements."""
        self.sql("; ".join([f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'", *grants]))

    def _answers(self) -> bool:
        assert self._daemon is not None
        assert self._daemon.is_running, self._daemon.text
        command = [BIN / "pg_isready", "-q", "-h", str(self._site.directory), "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0
