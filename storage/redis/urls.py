"""What a URL of Redis or Valkey says: where the servers are, and how connections to them are made.

    redis://user:password@host:6379/0             one server; valkey:// is the same
    unix:///run/redis.sock?db=0                   one server, by a Unix socket
    redis+sentinel://host:26379,host2/service/0   the primary that Sentinels name
    redis+cluster://host:6379,host2               the nodes of a Redis Cluster

With `rediss` (or `valkeys`) instead of `redis` all connections have TLS. Pure, but for the look whether files that are
named can be read; what is common to all URLs is in `storage/urls.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from storage.urls import Host, Url, UrlError, split_url

_PLAIN = ("redis", "rediss", "valkey", "valkeys", "unix")
_SCHEMES = (*_PLAIN, *(f"{name}+{kind}" for kind in ("sentinel", "cluster") for name in _PLAIN[:4]))
_PORT = 6379
_SENTINEL_PORT = 26379


class Kind(StrEnum):
    """How the server to use is found."""

    PLAIN = "plain"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the servers are, and how connections to them are made.

    Attributes:
        nodes: (host, port) of the server, of the Sentinels, or of some nodes of the cluster; none with a Unix socket.
        path: of the Unix socket, else "".
        service_name: what Sentinel calls the servers, else "".
        options: of a connection to a server, as redis-py's `Connection` takes them.
        sentinel_options: of one to a Sentinel.
    """

    kind: Kind
    nodes: tuple[tuple[str, int], ...]
    path: str
    service_name: str
    is_tls: bool
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any]

    def __str__(self) -> str:
        place = self.path or ",".join(str(Host(name, port)) for name, port in self.nodes)
        return f"{place} (Sentinel, {self.service_name})" if self.kind is Kind.SENTINEL else place


def _to_text(value: str) -> str:
    if not value:
        raise UrlError("is empty")
    return value


def _to_file(value: str) -> str:
    path = Path(value)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UrlError(f"names {path}, which can't be read: {error.strerror}") from error
    return value


def _to_requirement(value: str) -> str:
    word = value.lower().removeprefix("cert_")
    if word not in {"none", "optional", "required"}:
        raise UrlError("must be none, optional or required")
    return word


def _to_bool(value: str) -> bool:
    word = value.lower()
    if word not in {"1", "0", "true", "false", "yes", "no"}:
        raise UrlError("must be true or false")
    return word in {"1", "true", "yes"}


def _to_database(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise UrlError("must be the number of a database")
    return int(value)


_COMMON: Mapping[str, Callable[[str], Any]] = {
    "db": _to_database,
    "username": _to_text,
    "password": _to_text,
    "client_name": _to_text,
}
_TLS: Mapping[str, Callable[[str], Any]] = {
    "ssl_ca_certs": _to_file,
    "ssl_certfile": _to_file,
    "ssl_keyfile": _to_file,
    "ssl_password": _to_text,
    "ssl_cert_reqs": _to_requirement,
    "ssl_check_hostname": _to_bool,
}
_SENTINEL: Mapping[str, Callable[[str], Any]] = {"sentinel_username": _to_text, "sentinel_password": _to_text}
# Of clients, as URLs are handed out with; Parley has limits and pools of its own.
_WITHOUT_EFFECT = {
    "decode_responses",
    "encoding",
    "health_check_interval",
    "max_connections",
    "protocol",
    "retry_on_timeout",
    "skip_full_coverage_check",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_read_size",
    "socket_timeout",
    "timeout",
}


def check_redis_url(text: str) -> None:
    """Checks a URL before anything connects.

    Raises:
        UrlError: it can't be used.
    """
    parse_redis_url(text)


def parse_redis_url(text: str) -> RedisAddress:
    """Takes a URL apart.

    Raises:
        UrlError: it can't be used.
    """
    if text.partition("://")[0].lower() not in _SCHEMES:
        raise UrlError("must begin with redis:// or rediss:// or unix:// or redis+sentinel:// or redis+cluster://")
    url = split_url(text, _SCHEMES)
    base, _, suffix = url.scheme.partition("+")
    kind = Kind(suffix or "plain")
    is_tls = base in {"rediss", "valkeys"}
    given = _take_parameters(url, kind, is_tls=is_tls)
    nodes, path = _to_place(url, kind)
    service_name, number = _split_path(url, kind)
    options = {name: value for name, value in given.items() if name not in _SENTINEL}
    if number is not None and options.setdefault("db", number) != number:
        raise UrlError("names two databases, by its path and by db=")
    if kind is Kind.CLUSTER and options.get("db"):
        raise UrlError("names a database number; a cluster has number 0 alone")
    login = {"username": url.username, "password": url.password}
    options.update({name: value for name, value in login.items() if value is not None})
    if options.get("username") and not options.get("password"):
        raise UrlError("has a user and no password: redis://user:password@host (a password alone is :password@host)")
    if options.get("ssl_cert_reqs") == "none":
        options["ssl_check_hostname"] = False
    tls = {name: value for name, value in options.items() if name in _TLS}
    sentinel = {name.removeprefix("sentinel_"): value for name, value in given.items() if name in _SENTINEL}
    return RedisAddress(kind, nodes, path, service_name, is_tls, options, sentinel | tls)


def _take_parameters(url: Url, kind: Kind, *, is_tls: bool) -> dict[str, Any]:
    known = dict(_COMMON)
    if is_tls:
        known.update(_TLS)
    if kind is Kind.SENTINEL:
        known.update(_SENTINEL)
    taken = {}
    for name, value in url.parameters.items():
        if name in known:
            try:
                taken[name] = known[name](value)
            except UrlError as error:
                raise UrlError(f"has a parameter {name} that {error}") from error
        elif name in _TLS:
            raise UrlError(f"has {name} without TLS: begin it with rediss://")
        elif name not in _WITHOUT_EFFECT:
            raise UrlError(f"has a parameter {name}, which is none of {', '.join(sorted(known))}")
    return taken


def _to_place(url: Url, kind: Kind) -> tuple[tuple[tuple[str, int], ...], str]:
    """Returns the nodes, and the path of a Unix socket."""
    if url.scheme == "unix":
        if url.hosts or len(url.path) < 2:
            raise UrlError("must have three slashes and the path of the socket: unix:///run/redis.sock")
        return (), url.path
    if any(host.is_socket for host in url.hosts):
        raise UrlError("has a path for a host; a Unix socket is unix:///run/redis.sock")
    if kind is Kind.PLAIN and len(url.hosts) > 1:
        raise UrlError(
            "has several hosts: redis+sentinel://host:26379,host2:26379/service_name are Sentinels,"
            " redis+cluster://host:6379,host2:6379 the nodes of a cluster"
        )
    if not url.hosts:
        raise UrlError(f"must name a host: {url.scheme}://host")
    port = _SENTINEL_PORT if kind is Kind.SENTINEL else _PORT
    return tuple((host.name, host.port or port) for host in url.hosts), ""


def _split_path(url: Url, kind: Kind) -> tuple[str, int | None]:
    """Returns the name of Sentinel's service and the number of the database; None: not in the path."""
    if url.scheme == "unix":
        return "", None
    parts = url.path.strip("/").split("/") if url.path.strip("/") else []
    service_name = ""
    if kind is Kind.SENTINEL:
        if not parts:
            raise UrlError("must have the name that Sentinel calls the service after the hosts: /mymaster")
        service_name = parts.pop(0)
    if not parts:
        return service_name, None
    if len(parts) > 1 or not (parts[0].isascii() and parts[0].isdigit() and len(parts[0]) < 10):
        raise UrlError("must have the number of a database at the end of its path, or nothing: /0")
    return service_name, int(parts[0])
