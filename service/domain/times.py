"""Wall times in whole microseconds, which is what PostgreSQL keeps: what is stored and what is in a token compare."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(seconds: float) -> int:
    """Returns Unix microseconds from Unix seconds."""
    return round(seconds * 1e6)


def to_time(seconds: float) -> datetime:
    """Returns the aware time of Unix seconds, rounded to the microsecond."""
    return _EPOCH + timedelta(microseconds=to_micros(seconds))


def micros_of(time: datetime) -> int:
    """Returns the Unix microseconds of an aware time."""
    return (time - _EPOCH) // _MICROSECOND
