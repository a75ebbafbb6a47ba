"""Whether the server describes itself to clients: asked by the worker, and by the banner that tells people."""

from service.settings.host_port import is_loopback, split_listen
from service.settings.tree import Settings


def shows_reflection(settings: Settings, listen: str) -> bool:
    """Returns whether reflection is served on an address: as it is set, or on loopback alone.

    Raises:
        ValueError: the address is not host:port.
    """
    if settings.reflection != "auto":
        return settings.reflection == "on"
    return is_loopback(split_listen(listen)[0])
