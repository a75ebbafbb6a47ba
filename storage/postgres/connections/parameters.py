"""The parameters of a PostgreSQL URL: which are taken, which change nothing here, and which are refused. Pure.

The names are libpq's (https://www.postgresql.org/docs/current/libpq-connect.html), and those that providers, poolers
and other drivers put beside them. None becomes a setting of the server by itself.
"""

from collections.abc import Iterator, Mapping

from storage.postgres.connections.tls import MODES
from storage.urls import UrlError

TAKEN = frozenset(
    {
        *("host", "port", "user", "password", "passfile", "dbname", "database", "application_name"),
        *("fallback_application_name", "connect_timeout", "options", "target_session_attrs"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("ssl", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation"),
        *("sslcertmode", "ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib"),
    }
)

# What they ask for is so in any case, or has no meaning here.
_WITHOUT_EFFECT = {
    "client_encoding": "the connection speaks UTF-8",
    "load_balance_hosts": "the primary is looked for",
    "gssdelegation": "no credentials are delegated",
    "sslsni": "the host's name is sent",
    "sslcompression": "nothing is compressed",
    "min_protocol_version": "the driver speaks protocol 3.0",
    "max_protocol_version": "the driver speaks protocol 3.0",
    "uselibpqcompat": "names mean what libpq means by them",
    "pgbouncer": "a pooler is recognized by what it does",
    "supa": "it is of the provider's own counting",
    "connection_limit": "set database.pool_size",
    "pool_timeout": "set database.timeout_seconds",
    "pool_max_conns": "set database.pool_size",
    "pool_min_conns": "connections are made when they are needed",
    "socket_timeout": "set database.timeout_seconds",
    "statement_cache_size": "the driver keeps its own",
}

# What they ask for can't be had, or only as these values have it.
_ONLY = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer"),
    "sslcertmode": ("allow", "disable"),
    "target_session_attrs": ("any", "read-write", "primary"),
    "sslnegotiation": ("postgres", "direct"),
    "sslmode": MODES,
    "ssl": ("true", "false", "require"),
    "gsslib": ("gssapi", "sspi"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "keepalives": ("0", "1"),
}
_INSTEAD = {
    "service": "write host, database and user into the URL",
    "servicefile": "write host, database and user into the URL",
    "hostaddr": "write the address in the host's place",
    "schema": "set database.schema",
    "currentSchema": "set database.schema",
    "search_path": "set database.schema",
    "replication": "Parley reads no replication stream",
    "require_auth": "the driver can't be told which way to log in; let pg_hba.conf of the server tell",
    "requirepeer": "the driver can't look at the peer of a socket",
    "sslcrldir": "name one file in sslcrl",
    "sslaccept": "use sslmode=verify-full, or sslmode=require for a certificate that nobody vouches for",
}
_NUMBERS = ("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
_MOST = 86_400_000


def check_parameters(parameters: Mapping[str, str]) -> None:
    """Refuses a parameter that is not known, or a value that can't be had.

    Raises:
        UrlError: one is so; the text names the parameter, and a value only where that is one of libpq's words.
    """
    for name, value in parameters.items():
        if name in _INSTEAD:
            raise UrlError(f"has the parameter {name}, which is not taken: {_INSTEAD[name]}")
        if name not in TAKEN and name not in _WITHOUT_EFFECT and name not in _ONLY:
            raise UrlError(
                f"has the parameter {name}, which is not known; a setting of the server goes into options,"
                " for example options=-c%20work_mem%3D8MB"
            )
        if name in _ONLY and value not in _ONLY[name]:
            raise UrlError(f"has a value of {name} that can't be had: it takes {', '.join(_ONLY[name])}")
        if name in _NUMBERS and not _is_number(value):
            raise UrlError(f"has a value of {name} that is no whole number from 0 to {_MOST}")


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 9 and int(value) <= _MOST


def dropped(parameters: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    """Returns the parameters without effect: name, reason, and whether less is done than the parameter asks for."""
    for name, value in parameters.items():
        if name in _WITHOUT_EFFECT:
            yield name, _WITHOUT_EFFECT[name], False
        elif name == "channel_binding" and value != "disable":
            yield (
                name,
                "the driver can't bind the login to TLS; sslmode=verify-full is what protects it",
                (value == "require"),
            )
        elif name == "gssencmode":
            yield name, "the connection is encrypted by TLS or not at all", False


def to_settings(options: str) -> tuple[dict[str, str], str]:
    """Takes `options` apart: the settings of the session in it, and the rest, which is the server's or a pooler's own.

    -c name=value, -cname=value and --name=value set; Neon's endpoint=..., for example, is rest. A backslash takes the
    next character as it is.

    Raises:
        UrlError: it ends in the middle.
    """
    settings: dict[str, str] = {}
    rest: list[str] = []
    words = iter(_split_words(options))
    for word in words:
        if word == "-c":
            word = next(words, "")
        elif word.startswith(("-c", "--")):
            word = word[2:]
        else:
            rest.append(word)
            continue
        name, separator, value = word.partition("=")
        if not name or not separator:
            raise UrlError("has a value of options with a -c that is not followed by name=value")
        settings[name.replace("-", "_")] = value
    return settings, " ".join(word.replace("\\", "\\\\").replace(" ", "\\ ") for word in rest)


def _split_words(text: str) -> Iterator[str]:
    word, is_open, characters = "", False, iter(text)
    for character in characters:
        if character == " ":
            if is_open:
                yield word
            word, is_open = "", False
            continue
        word += next(characters, "") if character == "\\" else character
        is_open = True
    if is_open:
        yield word
