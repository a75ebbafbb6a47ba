"""Hosts with addresses of their own on this machine: network namespaces, joined by a switch that is one, too.

    with open_network("front", "node1", "postgres") as network:
        network.address("node1")            # an address that only these hosts know
        with network.cut("node1", "postgres"):
            ...                             # nothing of the one reaches the other; nobody is told

The machine itself has no address in this network: what runs outside talks to hosts by Unix sockets. Only root can make
one.
"""

import contextlib
import secrets
import subprocess
from collections.abc import Iterator

_PREFIX = "10.77.0"
_NOBODY = "02:00:00:00:00:01"


class Network:
    """The hosts, each by its name."""

    def __init__(self, *names: str) -> None:
        self._id = f"parley-{secrets.token_hex(3)}"
        self._numbers = {name: number for number, name in enumerate(names, 11)}

    def namespace(self, name: str) -> str:
        """The namespace of a host, for `ip netns exec`."""
        return f"{self._id}-{name}"

    def address(self, name: str) -> str:
        """The IPv4 address of a host."""
        return f"{_PREFIX}.{self._numbers[name]}"

    def open(self) -> None:
        """Makes the hosts and joins them."""
        switch = self.namespace("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for name, number in self._numbers.items():
            host, port = self.namespace(name), f"port{number}"
            _ip("netns", "add", host)
            _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", host, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", host, "link", "set", link, "up")

    def close(self) -> None:
        """Removes the hosts."""
        for name in (*self._numbers, "switch"):
            with contextlib.suppress(AssertionError):  # it was not made
                _ip("netns", "delete", self.namespace(name))

    @contextlib.contextmanager
    def cut(self, one: str, *others: str) -> Iterator[None]:
        """Loses all that a host and others send each other; connections stay open on both sides."""
        pairs = [pair for other in others for pair in ((one, other), (other, one))]
        for here, there in pairs:  # each takes the other for a network card that is not there
            place = (self.address(there), "dev", "eth0")
            _ip("-n", self.namespace(here), "neighbour", "replace", *place, "lladdr", _NOBODY, "nud", "permanent")
        try:
            yield
        finally:
            for here, there in pairs:
                _ip("-n", self.namespace(here), "neighbour", "delete", self.address(there), "dev", "eth0")


@contextlib.contextmanager
def open_network(*names: str) -> Iterator[Network]:
    """Makes a network of these hosts; removes it afterwards."""
    network = Network(*names)
    try:
        network.open()
        yield network
    finally:
        network.close()


def can_make_one() -> bool:
    """Whether this user may make network namespaces here."""
    with contextlib.suppress(AssertionError, FileNotFoundError):
        with open_network("alone"):
            return True
    return False


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
