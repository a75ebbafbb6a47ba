"""What a worker counts about storing messages; the metrics read it."""

from collections import Counter

from service.metrics.histogram import MESSAGES, SECONDS, Histogram


class WriterCounts:
    """Counts of messages and batches.

    Attributes:
        accepted_count: messages that were stored.
        deduplicated_count: repeats that got the first answer.
        refused: messages by the reason of the refusal.
        batch_messages: messages of a batch.
        commit_seconds: duration of the calls that succeeded.
        wait_seconds: how long the oldest message of a batch had waited.
        failure_count: calls that failed and were repeated.
    """

    def __init__(self) -> None:
        self.accepted_count = 0
        self.deduplicated_count = 0
        self.refused: Counter[str] = Counter()
        self.batch_messages = Histogram(MESSAGES)
        self.commit_seconds = Histogram(SECONDS)
        self.wait_seconds = Histogram(SECONDS)
        self.failure_count = 0
