"""The listen address: bound plainly once, which must succeed, then held without listening so that workers share it.

With SO_REUSEPORT alone a second server would be given a part of the first one's connections, silently.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from service.settings.host_port import split_listen

# One address of several may be missing: localhost has ::1 in files of machines without IPv6.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class AddressError(Exception):
    """The address can't be listened on; the text is one line for the operator."""


@contextmanager
def hold_address(listen: str) -> Iterator[str]:
    """Claims the address; gives it with the port that it has (0 becomes a free one). Released at the end.

    Raises:
        AddressError: it is in use, not this machine's, or not allowed.
    """
    host, port = split_listen(listen)
    addresses = _resolve(host, port)
    with ExitStack() as stack:
        held = 0
        for family, address in addresses:
            try:
                holder, port = _hold(family, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno in _NOT_HERE and len(addresses) > 1:
                    continue
                raise AddressError(_explain(listen, error, "--listen")) from None
            stack.enter_context(holder)
            held += 1
        if not held:
            raise AddressError(f"can't listen on {listen}: none of its addresses is this machine's")
        yield _join(host, port)


@contextmanager
def open_listeners(listen: str, setting: str) -> Iterator[tuple[list[socket.socket], str]]:
    """Listens on the address for one process alone; gives the sockets, and the address with the port that it has.

    Args:
        setting: the variable that says so, for the operator.

    Raises:
        AddressError: it is in use, not this machine's, or not allowed.
    """
    host, port = split_listen(listen)
    addresses = _resolve(host, port)
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, address in addresses:
            try:
                opened = stack.enter_context(_open(family))
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind((address[0], port, *address[2:]))
                opened.listen()
            except OSError as error:
                if error.errno in _NOT_HERE and len(addresses) > 1:
                    continue
                raise AddressError(_explain(listen, error, setting)) from None
            port = int(opened.getsockname()[1])
            sockets.append(opened)
        if not sockets:
            raise AddressError(f"can't listen on {listen}: none of its addresses is this machine's")
        yield sockets, _join(host, port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Lists what is bound for a host. The wildcard of IPv6 is that of IPv4, too; on machines without IPv6 it alone."""
    if host == "::":
        return [(socket.AF_INET6, ("::", port, 0, 0)), (socket.AF_INET, ("0.0.0.0", port))]  # noqa: S104 # as is asked
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressError(f"can't listen on {host}: {error.strerror}") from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _hold(family: socket.AddressFamily, address: tuple[Any, ...]) -> tuple[socket.socket, int]:
    """Binds plainly, then again to hold; returns the holder, which never listens, and the port."""
    with _open(family) as plain:
        # Connections of an earlier run that are still closing (TIME_WAIT) are no reason to wait; a listener is.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain.bind(address)
        port = int(plain.getsockname()[1])
    holder = _open(family)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((address[0], port, *address[2:]))  # all addresses of a name share the port that the first one got
    return holder, port


def _open(family: socket.AddressFamily) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return opened


def _explain(listen: str, error: OSError, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"the address {listen} is in use by another program; choose another one with {setting}"
            " (port 0 takes any free one)"
        )
    return f"can't listen on {listen}: {error.strerror}"
