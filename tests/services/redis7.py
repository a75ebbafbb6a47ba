"""Redis 7 of Debian: with a password, an ACL user, or TLS, as somebody else runs it."""

import subprocess
from pathlib import Path
from urllib.parse import quote

from tests.services.site import Daemon, Site, free_port, own
from tests.support.certificates import make_certificate
from tests.support.waiting import wait_until

PASSWORD = "p/w#[r@t%"
ACL_USER = "parley"


class Redis7:
    """One server. The tests themselves use its Unix socket.

    Attributes:
        port: of TCP, or of TLS where it has that.

    Args:
        host: the address that it listens on, of the namespace if there is one.
    """

    def __init__(
        self,
        site: Site,
        name: str = "redis7",
        *,
        host: str = "127.0.0.1",
        namespace: str = "",
        has_tls: bool = False,
    ) -> None:
        self._site = site
        self._name = name
        self._host = host
        self._namespace = namespace
        self._daemon: Daemon | None = None
        self.has_tls = has_tls
        self.port = free_port()
        self.directory = site.make_directory(name)

    @property
    def _socket(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def certificate_file(self) -> Path:
        """Its certificate, which is its own authority."""
        return self.directory / "certificate.pem"

    def start(self, *options: str) -> None:
        """Starts it; options are lines of redis.conf."""
        lines = [
            f"bind {self._host}",
            f"port {0 if self.has_tls else self.port}",
            f"unixsocket {self._socket}",
            f"dir {self.directory}",
            'save ""',
        ]
        if self.has_tls:
            if not self.certificate_file.exists():
                for path in make_certificate(self.directory, host="localhost"):
                    own(path)
            lines += [
                f"tls-port {self.port}",
                f"tls-cert-file {self.certificate_file}",
                f"tls-key-file {self.directory / 'key.pem'}",
                "tls-auth-clients no",
            ]
        configuration = self._site.directory / f"{self._name}.conf"
        if not configuration.exists():  # Sentinel and Cluster write theirs anew
            self._site.write(configuration.name, "\n".join([*lines, *options, ""]))
        self._daemon = self._site.spawn(self._name, "redis-server", configuration, namespace=self._namespace)
        wait_until(self._answers, what="Redis 7")

    def url(self, *, user: str = "", password: str = "") -> str:
        """Where clients find it."""
        login = f"{user}:{quote(password, safe='')}@" if password else ""
        if self.has_tls:
            return f"rediss://{login}localhost:{self.port}/0?ssl_ca_certs={self.certificate_file}"
        return f"redis://{login}{self._host}:{self.port}/0"

    def kill(self) -> None:
        """Ends it at once."""
        assert self._daemon is not None
        self._daemon.kill()

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self._daemon is not None
        self._daemon.process.send_signal(number)

    def cli(self, *words: str, password: str = "") -> str:
        """Runs a command; gives its answer as redis-cli prints it to a pipe."""
        variables = {"REDISCLI_AUTH": password} if password else {}
        return self._site.run("redis-cli", "-s", self._socket, *words, **variables).strip()

    def _answers(self) -> bool:
        assert self._daemon is not None
        assert self._daemon.is_running, self._daemon.text
        try:
            answer = self.cli("PING")
        except (AssertionError, subprocess.TimeoutExpired):
            return False
        return answer == "PONG" or "NOAUTH" in answer
