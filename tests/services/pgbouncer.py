"""PgBouncer of Debian (1.18) in front of a PostgreSQL 15."""

from tests.services.postgres15 import DATABASE, PASSWORD, Postgres15
from tests.services.site import Daemon, Site, free_port
from tests.support.waiting import wait_until


class PgBouncer:
    """One pooler, as Debian configures it but for the addresses.

    Attributes:
        port: where clients connect; `postgres.url(user, port=pooler.port)`.
    """

    def __init__(self, site: Site, postgres: Postgres15, *, mode: str, pool_size: int = 40) -> None:
        self._site = site
        self._daemon: Daemon | None = None
        self.port = free_port()
        users = site.write("userlist.txt", "".join(f'"{user}" "{PASSWORD}"\n' for user in ("parley", "postgres")))
        lines = [
            "[databases]",
            f"{DATABASE} = host=127.0.0.1 port={postgres.port} dbname={DATABASE}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = scram-sha-256",
            f"auth_file = {users}",
            f"pool_mode = {mode}",
            f"default_pool_size = {pool_size}",
            "",
        ]
        self._configuration = site.write("pgbouncer.ini", "\n".join(lines))

    def start(self) -> None:
        """Starts it."""
        self._daemon = self._site.spawn("pgbouncer", "pgbouncer", self._configuration)
        wait_until(lambda: "process up" in self.text, what="PgBouncer")

    def restart(self) -> None:
        """Ends it at once, with all its connections, and starts it again."""
        assert self._daemon is not None
        self._daemon.kill()
        self.start()

    @property
    def text(self) -> str:
        """Its log."""
        assert self._daemon is not None
        assert self._daemon.is_running, self._daemon.text
        return self._daemon.text
