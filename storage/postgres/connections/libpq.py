"""Where a database is, for PostgreSQL's own programs: as variables, which other users of the machine can't read."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from storage.postgres.connections.target import Target
from storage.urls import Host


@contextmanager
def libpq_environment(target: Target) -> Iterator[dict[str, str]]:
    """Returns the PG* variables with which a program reaches the same database; others must not be set.

    libpq takes a comma for the end of a host's name, so a socket whose directory has one gets a link to it.
    """
    with ExitStack() as stack:
        tls = target.tls
        settings = [f"-c {name}={_escape(value)}" for name, value in target.settings.items()]
        found = {
            "PGHOST": ",".join(_name(host, stack) for host in target.hosts),
            "PGPORT": ",".join(str(host.port or "") for host in target.hosts),
            "PGUSER": target.user,
            "PGPASSWORD": target.password,
            "PGPASSFILE": target.passfile,
            "PGDATABASE": target.database,
            "PGAPPNAME": target.application_name,
            "PGOPTIONS": " ".join([*settings, target.options]).strip(),
            "PGCONNECT_TIMEOUT": str(int(target.connect_seconds or 0) or ""),
            "PGTARGETSESSIONATTRS": "read-write" if len(target.hosts) > 1 else None,
            "PGSSLMODE": tls.mode,
            "PGSSLROOTCERT": tls.root_file,
            "PGSSLCERT": tls.certificate_file,
            "PGSSLKEY": tls.key_file,
            "PGSSLCRL": tls.revoked_file,
        }
        yield {name: value for name, value in found.items() if value}


def _name(host: Host, stack: ExitStack) -> str:
    if "," not in host.name:
        return host.name
    link = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-link-"))) / "s"
    link.symlink_to(host.name)
    return str(link)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace(" ", "\\ ")
