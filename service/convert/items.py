"""Log entries as ready bytes, in the form in which the history, the hub and the bus handle them."""

from typing import NamedTuple


class Item(NamedTuple):
    """An entry as it travels: its place, ready bytes, kind and the session that sent it (0: none).

    Attributes:
        kind: its number in `service/convert/entry_kinds.py`.
    """

    seq: int
    body: bytes
    kind: int
    origin: int


def message_bytes(item: Item) -> int:
    """The size of the entry's Message as a client can measure it: without the frame's tag and length before it."""
    size = len(item.body) - 1
    length_bytes = 1
    while size - length_bytes >= 1 << 7 * length_bytes:
        length_bytes += 1
    return size - length_bytes
