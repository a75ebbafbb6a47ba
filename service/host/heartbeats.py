"""What a process that serves tells its supervisor, and how long it may be silent. Loads nothing of ours.

The process writes to a pipe: a beat each second, once that it is ready, and at last why it fails. 0.1.0 has the same
bytes.
"""

BEAT = b"."
READY = b"R"
# What comes after it is why the process fails, in UTF-8.
LAST_WORDS = b"!"
# A process that asked for its own restart ends with this status; that is no failure.
PLANNED_STATUS = 3

# How long the event loop of a process may be silent before it is taken for stalled: when it serves, and until then.
SERVING_SECONDS = 10.0
STARTING_SECONDS = 30.0


class Heartbeats:
    """What was heard from one process since it was started at `now`.

    Times are seconds of a monotonic clock.

    Attributes:
        is_ready: whether the process has said that it serves.
        last_words: why it fails, in its own words; empty unless it said so.
    """

    def __init__(self, now: float) -> None:
        self._heard_time = now
        self.is_ready = False
        self.last_words = b""

    def hear(self, heard: bytes, now: float) -> None:
        """Takes what was read from the pipe; nothing, where nothing new is there."""
        if self.last_words or LAST_WORDS in heard:
            self.last_words += heard if self.last_words else heard.partition(LAST_WORDS)[2]
        elif heard:
            self._heard_time = now
            self.is_ready = self.is_ready or READY in heard

    def forgive(self, now: float) -> None:
        """Counts the silence from now on."""
        self._heard_time = now

    def is_stalled(self, now: float) -> bool:
        """Returns whether the process has been silent for too long."""
        return now - self._heard_time > (SERVING_SECONDS if self.is_ready else STARTING_SECONDS)
