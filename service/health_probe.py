"""Asks a server whether it serves, as `parley health` and the container's health check do.

With TLS it trusts the server's own certificate file and no other; that is enough to know that this very server answers.
"""

import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.config import Settings
from service.data_directory import find_server
from service.host_port import split_listen

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # listened on, not bound


class ProbeError(Exception):
    """The server does not serve; the text says how."""


def probe(settings: Settings, *, timeout_seconds: float) -> str:
    """Returns a line that says so when the server serves.

    Raises:
        ProbeError: it does not.
    """
    host, port = _find_address(settings)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        with _open_channel(settings, host, port, address, timeout_seconds) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=timeout_seconds, wait_for_ready=False
            )
    except grpc.RpcError as error:
        raise ProbeError(f"{address} does not answer: {error.details()}") from None
    except OSError as error:
        raise ProbeError(f"{address} does not answer: {error}") from None
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise ProbeError(f"{address} answers {status}")
    return f"{address} {status}"


def _find_address(settings: Settings) -> tuple[str, int]:
    host, port = split_listen(settings.listen)
    if port == 0:  # only the server knows which one it got
        server = find_server(settings.data_dir)
        if server is None or "listen" not in server:
            raise ProbeError(f"no server runs on the data directory {settings.data_dir}")
        host, port = split_listen(server["listen"])
    return _WILDCARDS.get(host, host), port


def _open_channel(settings: Settings, host: str, port: int, address: str, timeout_seconds: float) -> grpc.Channel:
    certificate_file = settings.tls.certificate_file
    if certificate_file is None:
        return grpc.insecure_channel(address)
    name = _certified_name(certificate_file.expanduser(), host, port, timeout_seconds)
    credentials = grpc.ssl_channel_credentials(certificate_file.expanduser().read_bytes())
    options = [("grpc.ssl_target_name_override", name)] if name else []
    return grpc.secure_channel(address, credentials, options=options)


def _certified_name(certificate_file: Path, host: str, port: int, timeout_seconds: float) -> str | None:
    """Returns a name that the server's certificate is for: this machine reaches it by another one."""
    context = ssl.create_default_context(cafile=str(certificate_file))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=timeout_seconds) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        certificate = secured.getpeercert() or {}
    names: Any = certificate.get("subjectAltName", ())  # pairs of kind and value
    return next((value for kind, value in names if kind in ("DNS", "IP Address")), None)
