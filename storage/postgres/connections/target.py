"""What a PostgreSQL URL says: where the servers are, who logs in, how. What the URL leaves open is PG* variables'.

postgresql://user:password@first:5432,second:5433/database?sslmode=verify-full&sslrootcert=/etc/ca.pem
postgresql://user@/database?host=/run/first,/run/second&port=5432

The names of parameters are in `parameters.py`, files of TLS are read in `tls.py`.
"""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storage.postgres.connections.parameters import check_parameters, dropped, to_settings
from storage.postgres.connections.tls import Tls, to_tls
from storage.urls import ENCODE, Host, Url, UrlError, decode, split_url, to_port

SCHEMES = ("postgresql", "postgres")
APPLICATION_NAME = "parley"
_SOCKET_BYTES = 107  # sun_path of Linux is 108 with the closing NUL


@dataclass(frozen=True, slots=True)
class Keepalive:
    """What the operating system does on idle TCP connections; None: as it is set up to."""

    is_on: bool = True
    idle_seconds: int | None = None
    interval_seconds: int | None = None
    count: int | None = None
    user_timeout_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The servers of one database, and the way to them.

    Attributes:
        hosts: in their order; none: PGHOST has them, or they are in the usual places.
        user: of the database.
        is_database_named: whether by the URL or PGDATABASE; else the database has the user's name.
        passfile: None: PGPASSFILE, or ~/.pgpass.
        settings: of each session, from `options`; Parley's own override them.
        options: what else `options` has; goes to the server as it is.
        connect_seconds: the limit of a connection's making; None: the usual one.
        driver: further arguments of `asyncpg.connect`.
    """

    hosts: tuple[Host, ...]
    user: str
    password: str | None = field(repr=False)
    passfile: str | None
    database: str
    is_database_named: bool
    application_name: str
    settings: Mapping[str, str]
    options: str
    connect_seconds: float | None
    keepalive: Keepalive
    tls: Tls
    driver: Mapping[str, Any]


def check_postgres_url(text: str) -> None:
    """Checks a URL before anything connects, without looking at files or the environment.

    Raises:
        UrlError: it can't be used.
    """
    url = split_url(text, SCHEMES)
    parameters = url.parameters
    check_parameters(parameters)
    for host in _to_hosts(url):
        if host.is_socket and len(os.fsencode(f"{host.name}/.s.PGSQL.{host.port or 5432}")) > _SOCKET_BYTES:
            raise UrlError(f"has the directory of a Unix socket whose path is longer than {_SOCKET_BYTES} bytes")
    if "/" in url.encoded_path[1:]:
        raise UrlError(f'has a second "/" after the host: write one in the name of the database as %2F, or {ENCODE}')
    to_settings(parameters.get("options", ""))
    to_tls(parameters, {})


def read_dropped(text: str) -> list[tuple[str, str, bool]]:
    """Returns the parameters of a URL that have no effect: name, why, and whether less is done than they ask for."""
    return list(dropped(split_url(text, SCHEMES).parameters))


def to_target(text: str, environment: Mapping[str, str] | None = None) -> Target:
    """Reads a URL.

    Args:
        environment: for what the URL leaves open; the process's own where it is None.

    Raises:
        UrlError: it can't be used.
    """
    environment = os.environ if environment is None else environment
    check_postgres_url(text)
    url = split_url(text, SCHEMES)
    given = url.parameters
    user = url.username or given.get("user") or environment.get("PGUSER") or _login_name()
    database = url.path[1:] or given.get("dbname") or given.get("database") or environment.get("PGDATABASE", "")
    settings, options = to_settings(given.get("options", ""))
    name = given.get("application_name") or given.get("fallback_application_name") or APPLICATION_NAME
    seconds = int(given.get("connect_timeout", "0"))
    hosts = _to_hosts(url)
    is_local = bool(hosts) and all(host.is_socket for host in hosts)  # without TLS, whatever PGSSL* say of others
    return Target(
        hosts=hosts,
        user=user,
        password=url.password or given.get("password"),
        passfile=given.get("passfile"),
        database=database or user,
        is_database_named=bool(database),
        application_name=name,
        settings=settings,
        options=options,
        connect_seconds=float(seconds) if seconds else None,
        keepalive=_to_keepalive(given),
        tls=to_tls(given, {} if is_local else environment),
        driver={name: given[name] for name in ("krbsrvname", "gsslib") if name in given},
    )


def _to_hosts(url: Url) -> tuple[Host, ...]:
    """Takes the hosts of the parameter `host` apart while they are encoded: a comma in a path is no separator."""
    if url.hosts or "host" not in url.encoded:
        default = to_port(url.parameters.get("port", "")) if url.hosts and "port" in url.encoded else None
        return tuple(host if host.port or default is None else replace(host, port=default) for host in url.hosts)
    names = [decode(part) for part in url.encoded["host"].split(",")]
    ports = [to_port(part) for part in url.parameters.get("port", "").split(",")]
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise UrlError(f"has {len(names)} hosts and {len(ports)} ports")
    if "" in names:
        raise UrlError("has an empty host in its list of hosts")
    return tuple(Host(name.strip("[]"), port) for name, port in zip(names, ports, strict=True))


def _to_keepalive(given: Mapping[str, str]) -> Keepalive:
    def number(name: str) -> int | None:
        return int(given.get(name, "0")) or None

    return Keepalive(
        given.get("keepalives", "1") == "1",
        number("keepalives_idle"),
        number("keepalives_interval"),
        number("keepalives_count"),
        number("tcp_user_timeout"),
    )


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise UrlError("names no user, and the system has no name for the user that runs this") from None
