"""The channel to the server: with TLS or without, and never through a proxy to this machine."""

import argparse
from pathlib import Path

import grpc
from grpc import aio

from terminal_chat.errors import LeaveChat

# gRPC's own pauses between attempts to connect, which would be up to two minutes: below those of `endings.py`.
CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what says where the server is."""
    parser.add_argument("target", nargs="?", default="127.0.0.1:50051", help="host:port (%(default)s)")
    parser.add_argument("--tls", action="store_true", help="the server's certificate is checked, as browsers do")
    parser.add_argument("--ca", metavar="FILE", default="", help="TLS with this authority or certificate (PEM) alone")
    parser.add_argument(
        "--server-name", metavar="NAME", default="", help="the name in the certificate, if not the host"
    )


def to_channel_options(target: str) -> list[tuple[str, int]]:
    """Returns the options of a channel; one to this machine goes through no proxy, whose loopback is another one."""
    host = target.rpartition(":")[0].strip("[]")
    is_here = host == "localhost" or host.startswith("127.") or host == "::1"
    return [*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)] if is_here else CHANNEL_OPTIONS


def open_channel(options: argparse.Namespace) -> aio.Channel:
    """Returns a channel to the server; connects later.

    Raises:
        LeaveChat: the file of the authority is of no use.
    """
    settings: list[tuple[str, object]] = [*to_channel_options(options.target)]
    if not (options.tls or options.ca):
        if options.server_name:
            raise LeaveChat("--server-name is for TLS: add --tls or --ca")
        return aio.insecure_channel(options.target, settings)
    if options.server_name:
        settings.append(("grpc.ssl_target_name_override", options.server_name))
    credentials = grpc.ssl_channel_credentials(_read_authority(options.ca) if options.ca else None)
    return aio.secure_channel(options.target, credentials, settings)


def _read_authority(path: str) -> bytes:
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise LeaveChat(f"--ca {path} can't be read: {error.strerror}") from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise LeaveChat(f"--ca {path} has no certificate in PEM")
    return content
