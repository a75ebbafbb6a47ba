"""What it means that a connection can't be made: one line for the operator, and whether waiting can mend it. Pure."""

import socket
import ssl

import asyncpg
from asyncpg import exceptions as pg

from storage.errors import Lasting, Unavailable
from storage.postgres.connections.target import Target

TRANSACTION_POOLING = (
    "a pooler hands each transaction another session of the server (pool_mode=transaction or statement of PgBouncer):"
    " Parley needs one session a connection; set pool_mode=session for its database, or connect to PostgreSQL itself"
)
# PgBouncer's own refusals have one code for everything.
_LASTING_OF_POOLER = (
    *("no such user", "no such database", "unsupported startup parameter", "SASL authentication failed"),
    *("password authentication failed", "auth failed", "login rejected", "pgbouncer does not support"),
)
_PASSING = (
    pg.PostgresConnectionError,
    pg.OperatorInterventionError,
    pg.InsufficientResourcesError,
    pg.PostgresSystemError,
    pg.ObjectNotInPrerequisiteStateError,  # the database takes no connections just now
    pg.TransactionRollbackError,
    asyncpg.InternalClientError,
)


def to_unavailable(error: Exception, target: Target, limit_seconds: float) -> Unavailable:
    """Returns what the operator is told; it is Lasting where waiting does not mend it."""
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, TimeoutError):
        return Unavailable(f"no answer within {limit_seconds:g} s")
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error, target)
    if isinstance(error, OSError):
        return _of_way(error, target)
    if isinstance(error, _PASSING):
        return Unavailable(_first_line(error))
    return Lasting(_first_line(error))


def _of_way(error: OSError, target: Target) -> Unavailable:
    tls = target.tls
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in error.verify_message:
            return Lasting(f"the server's certificate is another host's: {error.verify_message} (sslmode={tls.mode})")
        root = tls.root_file or "~/.postgresql/root.crt"
        return Lasting(
            f"nobody in sslrootcert ({root}) vouches for the server's certificate: {error.verify_message}; name the"
            " file of the authority that signed it"
        )
    if isinstance(error, ssl.SSLError):
        return Lasting(f"TLS fails: {error.reason or 'the connection was cut'}; look at sslcert, sslkey and the server")
    if isinstance(error, socket.gaierror):
        return Unavailable(f"the name of the host is not found ({error.strerror})")
    if isinstance(error, PermissionError) or "too long" in str(error):
        return Lasting(f"the socket can't be opened: {error.strerror or _first_line(error)}")
    if is_refusal_of_tls(error):
        return Lasting(f"the server takes no TLS, and sslmode={tls.mode} asks for it")
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return Unavailable(f"nothing listens there ({error.strerror or _first_line(error)})")
    return Unavailable(f"{type(error).__name__}: {_first_line(error)}")


def _of_server(error: asyncpg.PostgresError, target: Target) -> Unavailable:
    text = _first_line(error)
    if isinstance(error, pg.InvalidPasswordError):
        given = "is refused" if target.password is not None else "is missing in the URL, or refused"
        return Lasting(f'the password of the role "{target.user}" {given}')
    if isinstance(error, pg.InvalidCatalogNameError):
        why = "" if target.is_database_named else ", which is the role's name, since the URL names no database"
        return Lasting(f'there is no database "{target.database}"{why}')
    if isinstance(error, pg.InvalidAuthorizationSpecificationError):
        hint = "; the server wants TLS: set sslmode=require" if _lacks_encryption(text) else ""
        return Lasting(f"the server refuses the role: {text}{hint}")
    if isinstance(error, (pg.DuplicatePreparedStatementError, pg.InvalidSQLStatementNameError)):
        return Lasting(TRANSACTION_POOLING)
    if isinstance(error, pg.TooManyConnectionsError):
        return Unavailable(f"{text}: raise max_connections, or lower database.pool_size, database.lanes or workers")
    if isinstance(error, pg.ProtocolViolationError):
        is_lasting = any(refusal in text for refusal in _LASTING_OF_POOLER)
        return Lasting(text) if is_lasting else Unavailable(text)
    if isinstance(error, pg.ConnectionDoesNotExistError) and target.tls.certificate_file is not None:
        # With TLS 1.3 a server looks at the certificate when the client takes the connection for made.
        return Unavailable(f"{text}; it may not accept the certificate that sslcert names")
    return Unavailable(text) if isinstance(error, _PASSING) else Lasting(text)


def is_refusal_of_tls(error: BaseException) -> bool:
    """Whether the server has said that it speaks no TLS."""
    return type(error) is ConnectionError and "rejected SSL" in str(error)


def _lacks_encryption(text: str) -> bool:
    return "no encryption" in text or "SSL off" in text


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0] or type(error).__name__
