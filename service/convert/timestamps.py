"""Times between datetime and protobuf, without the cost of going through floats."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_timestamp(time: datetime) -> Timestamp:
    """Turns an aware time into a Timestamp; microseconds are kept."""
    since = time - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def from_timestamp(time: Timestamp) -> datetime:
    """Turns a Timestamp into an aware UTC time.

    Raises:
        ValueError: the Timestamp is not a valid one.
    """
    return time.ToDatetime(tzinfo=UTC)
