"""Patroni with etcd: two PostgreSQL 15 of which one is the primary, by switchover or after its death.

Commits wait for the standby (`synchronous_mode`), so what was acknowledged is there after either.
"""

import http.client
import json
from typing import Any
from urllib.parse import quote

import yaml

from tests.services.postgres15 import BIN, DATABASE, PASSWORD, SUPERUSER
from tests.services.site import Daemon, Site, free_port, kill_family
from tests.support.waiting import wait_until

_NAMES = ("alpha", "beta")
# The least that Patroni takes: a dead primary's place is free after that.
_TTL_SECONDS = 20


class Patroni:
    """The pair."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._etcd_port = free_port()
        self._ports = {name: free_port() for name in _NAMES}
        self._api_ports = {name: free_port() for name in _NAMES}
        self._daemons: dict[str, Daemon] = {}

    def start(self) -> None:
        """Starts etcd and both servers; waits until the standby is in step, and makes the role and its database."""
        directory = self._site.make_directory("etcd")
        clients, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        self._site.spawn(
            *("etcd", "etcd", "--name", "only", "--data-dir", directory, "--initial-cluster", f"only={peers}"),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
        )
        for name in _NAMES:
            self._site.write(f"{name}.yaml", yaml.safe_dump(self._configuration(name)))
            self._start_one(name)
        wait_until(self.is_whole, limit_seconds=90, what="a primary with a standby in step")
        self._sql(f"CREATE ROLE parley LOGIN PASSWORD '{PASSWORD}'", "postgres")
        self._sql(f"CREATE DATABASE {DATABASE} OWNER parley", "postgres")

    @property
    def url(self) -> str:
        """Both hosts, for the server."""
        return self._url("parley", DATABASE)

    @property
    def checker_url(self) -> str:
        """Both hosts, for the superuser."""
        return self._url(SUPERUSER, DATABASE) + "?target_session_attrs=primary"

    def primary(self) -> str:
        """The name of the server that takes writes; "" when there is none."""
        return next((name for name in _NAMES if self._ask(name, "GET", "/primary")[0] == 200), "")

    def is_whole(self) -> bool:
        """Whether there is a primary, and a standby that commits wait for."""
        primary = self.primary()
        others = [name for name in _NAMES if name != primary]
        return bool(primary) and all(self._ask(name, "GET", "/sync")[0] == 200 for name in others)

    def switch_over(self) -> None:
        """Has the standby become the primary, as before maintenance; waits until the old one follows it."""
        old = self.primary()
        candidate = next(name for name in _NAMES if name != old)
        status, text = self._ask(old, "POST", "/switchover", {"leader": old, "candidate": candidate})
        assert status == 200, text
        wait_until(lambda: self.primary() == candidate, limit_seconds=60, what="the new primary")
        wait_until(self.is_whole, limit_seconds=90, what="the old primary as its standby")

    def kill_primary(self) -> None:
        """Kills the primary and its Patroni, as a power cut does; waits for another one; brings the old one back.

        A Patroni that dies alone leaves a primary that nobody fences; that is what its watchdog is for.
        """
        old = self.primary()
        data_dir = self._site.directory / f"{old}-data"
        postmaster = int((data_dir / "postmaster.pid").read_text().split()[0])
        self._daemons[old].kill()
        kill_family(postmaster)
        wait_until(lambda: self.primary() not in ("", old), limit_seconds=90, what="another primary")
        self._start_one(old)
        wait_until(self.is_whole, limit_seconds=90, what="the old primary as its standby")

    def _start_one(self, name: str) -> None:
        self._daemons[name] = self._site.spawn(name, "/usr/bin/patroni", self._site.directory / f"{name}.yaml")

    def _configuration(self, name: str) -> dict[str, Any]:
        logins = {"superuser": SUPERUSER, "replication": "copier"}
        return {
            "scope": "parley",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{self._api_ports[name]}"},
            "etcd3": {"hosts": f"127.0.0.1:{self._etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": _TTL_SECONDS,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 100}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self._ports[name]}",
                "connect_address": f"127.0.0.1:{self._ports[name]}",
                "data_dir": str(self._site.directory / f"{name}-data"),
                "pgpass": str(self._site.directory / f"{name}.pgpass"),
                "bin_dir": str(BIN),
                "authentication": {kind: {"username": user, "password": PASSWORD} for kind, user in logins.items()},
                "parameters": {"unix_socket_directories": str(self._site.directory)},
                "pg_hba": [
                    "local all all scram-sha-256",
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication copier 127.0.0.1/32 scram-sha-256",
                ],
            },
        }

    def _url(self, user: str, database: str) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports.values())
        return f"postgresql://{user}:{quote(PASSWORD, safe='')}@{hosts}/{database}"

    def _sql(self, statement: str, database: str) -> None:
        port = str(self._ports[self.primary()])
        command = ("psql", "-XAtqc", statement, "-h", "127.0.0.1", "-p", port, "-U", SUPERUSER, "-d", database)
        self._site.run(*command, PGPASSWORD=PASSWORD)

    def _ask(self, name: str, method: str, path: str, body: dict[str, str] | None = None) -> tuple[int, str]:
        """Asks a server's Patroni; gives status and text, 0 while it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._api_ports[name], timeout=60)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()
