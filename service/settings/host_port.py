"""Parses listen addresses, written host:port. Imports no module of Parley, since the supervisor loads this one too."""

import ipaddress


def split_listen(listen: str) -> tuple[str, int]:
    """Returns the host, without the brackets of an IPv6 address, and the port.

    `:50051` and `*:50051` mean all addresses, as `[::]:50051` does.

    Raises:
        ValueError: the text is not host:port.
    """
    host, separator, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError("must be host:port, for example 127.0.0.1:50051 or [::1]:50051; [::]:50051 is all addresses")
    if host in ("", "*"):
        host, bracketed = "[::]", True
    if ":" in host and not bracketed:
        raise ValueError("must have an IPv6 address in brackets, for example [::1]:50051")
    try:
        host.encode("idna")  # as the resolver does
    except UnicodeError:
        raise ValueError("must have a name or an IP address as its host") from None
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
