"""The hosts of a PostgreSQL URL, one address each. Pure.

postgresql://user:password@first:5432,second:5433/database
postgresql://user@/database?host=/run/first,/run/second&port=5432
"""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Host:
    """A server's address; the host of a Unix socket is the socket's directory.

    Attributes:
        port: None: the usual one.
    """

    host: str
    port: int | None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def parse_hosts(url: str) -> list[Host]:
    """Returns the hosts in their order; none where the URL names none (the environment, or the usual places, do).

    Raises:
        ValueError: a port is no number, or there are neither one port nor as many as hosts.
    """
    netloc = urlsplit(url).netloc.rpartition("@")[2]
    if netloc:
        return [_parse_host(unquote(part)) for part in netloc.split(",")]
    query = parse_qs(urlsplit(url).query)
    if "host" not in query:
        return []
    names = query["host"][-1].split(",")
    ports = [_to_port(port) for port in query.get("port", [""])[-1].split(",")]
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise ValueError(f"the database URL has {len(names)} hosts and {len(ports)} ports")
    return [Host(name, port) for name, port in zip(names, ports, strict=True)]


def _parse_host(text: str) -> Host:
    if text.startswith("/"):
        return Host(text, None)
    name, separator, port = text.rpartition(":")
    if not separator or port.endswith("]"):  # no port, or an IPv6 address without one
        name, port = text, ""
    return Host(name.strip("[]"), _to_port(port))


def _to_port(text: str) -> int | None:
    return int(text) if text else None
