"""How much a Redis takes over one connection, from a client that costs next to nothing: bytes made before."""

import socket
import time
from pathlib import Path

_PAYLOAD_BYTES = 200  # about a message of 100 bytes with its header on the bus
_PIPELINE = 100
_REPLY = b":0\r\n"  # nobody subscribed


def measure_publish(socket_path: Path, seconds: float) -> dict[str, float]:
    """Publishes to a channel that nobody listens to.

    Returns:
        "publish_per_second" in pipelines of 100, "publish_single_per_second" one after the answer to another.

    Raises:
        OSError: the server hangs up.
    """
    return {
        "publish_per_second": _publish(socket_path, seconds / 2, pipeline=_PIPELINE),
        "publish_single_per_second": _publish(socket_path, seconds / 2, pipeline=1),
    }


def _publish(socket_path: Path, seconds: float, *, pipeline: int) -> float:
    """Returns how many a second."""
    words = (b"PUBLISH", b"limit", b"x" * _PAYLOAD_BYTES)
    command = b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    commands, answer_bytes = command * pipeline, len(_REPLY) * pipeline
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10.0)
        connection.connect(str(socket_path))
        count = 0
        begin = now = time.perf_counter()
        while now - begin < seconds:
            connection.sendall(commands)
            left = answer_bytes
            while left:
                got = connection.recv(left)
                if not got:
                    raise OSError("Redis closed the connection")
                left -= len(got)
            count += pipeline
            now = time.perf_counter()
    return count / (now - begin)
