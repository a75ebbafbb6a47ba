"""How the server listens: address, TLS, and the transport's own limits."""

from typing import Any

import grpc

from service.domain.limits import MAX_REQUEST_BYTES
from service.host.file_limit import to_most_connections
from service.rpc.in_flight import MAX_UNARY_CALLS
from service.settings.tree import Settings
from service.worker.server_certificate import ServerCertificate

# Against HTTP/2 abuse and dead peers; the key names are grpc-core's. "min_ping_interval" has no "recv" in it: the name
# with "recv" is ignored. ping_timeout_ms defaults to 60 s and would override keepalive_timeout_ms for a hung peer.
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.so_reuseport", 1),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    ("grpc.max_metadata_size", 8192),
    ("grpc.absolute_max_metadata_size", 16_384),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 5000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_connection_idle_ms", 300_000),
    # The backstop for streams whose reader never reads on, and a slow rebalancing.
    ("grpc.max_connection_age_ms", 4 * 3_600_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.server_handshake_timeout_ms", 5000),
    # Calls that came and were not taken by the event loop yet are cancelled after this many seconds, with a status that
    # says nothing; by default 30. When all clients of a lost worker come at once it can take longer, and whoever is
    # cancelled then comes again, behind all others. A call with a deadline leaves the queue by itself. The name has no
    # dot after "server": one with it is ignored.
    ("grpc.server_max_unrequested_time_in_server", 600),
]


def server_options(settings: Settings) -> list[tuple[str, Any]]:
    """The channel arguments of a server.

    Calls that the event loop has not taken yet may be as many as it may then serve: grpc-core's own bound would cancel
    some at random above 1,000 and all above 3,000, while what is taken and is too much gets a refusal with advice.
    """
    database = settings.database
    most = settings.limits.max_streams + MAX_UNARY_CALLS
    return [
        *_OPTIONS,
        # Else clients that only connect take every file, and PostgreSQL and Redis can't be reached again.
        ("grpc.max_allowed_incoming_connections", to_most_connections(database.pool_size + database.lanes)),
        ("grpc.server.max_pending_requests", most),
        ("grpc.server.max_pending_requests_hard_limit", most),
    ]


def open_certificate(settings: Settings) -> ServerCertificate | None:
    """Returns what the settings have of TLS; None: nothing.

    Raises:
        CertificateError: the files can't be used.
    """
    tls = settings.tls
    if tls.certificate_file is None or tls.key_file is None:
        return None
    return ServerCertificate(tls.certificate_file, tls.key_file)


def add_port(server: grpc.aio.Server, listen: str, certificate: ServerCertificate | None) -> None:
    """Binds a server to its address, with TLS when there is a certificate.

    Raises:
        OSError: the address can't be bound.
    """
    if certificate is None:
        port = server.add_insecure_port(listen)
    else:
        port = server.add_secure_port(listen, certificate.credentials())
    if port == 0:
        raise OSError(f"can't listen on {listen}")
