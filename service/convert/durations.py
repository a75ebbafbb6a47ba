"""Durations of requests as seconds."""

from google.protobuf.duration_pb2 import Duration


def to_seconds(duration: Duration) -> float:
    """Returns the duration in seconds; it may be negative."""
    return duration.seconds + duration.nanos / 1e9
