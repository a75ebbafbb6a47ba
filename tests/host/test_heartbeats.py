"""How long a process that serves may be silent, and what is heard of it."""

import pytest

from service.host.heartbeats import BEAT, LAST_WORDS, READY, Heartbeats


def find_limit(heartbeats: Heartbeats, heard_time: float) -> float:
    """Finds after how many seconds of silence the process is taken for stalled, to a tenth."""
    return next(tenths / 10 for tenths in range(1000) if heartbeats.is_stalled(heard_time + (tenths + 0.5) / 10))


def test_a_starting_process_may_be_silent_for_thirty_seconds() -> None:
    assert find_limit(Heartbeats(100.0), 100.0) == 30.0


def test_a_starting_process_that_beats_is_still_starting() -> None:
    heartbeats = Heartbeats(100.0)
    heartbeats.hear(BEAT, 120.0)
    assert not heartbeats.is_ready
    assert find_limit(heartbeats, 120.0) == 30.0


def test_a_process_that_serves_may_be_silent_for_ten_seconds() -> None:
    heartbeats = Heartbeats(100.0)
    heartbeats.hear(BEAT + READY, 105.0)
    heartbeats.hear(BEAT, 106.0)
    assert heartbeats.is_ready
    assert find_limit(heartbeats, 106.0) == 10.0


def test_nothing_that_was_read_is_no_beat() -> None:
    heartbeats = Heartbeats(100.0)
    heartbeats.hear(b"", 129.0)
    assert heartbeats.is_stalled(131.0)


def test_silence_that_is_forgiven_counts_from_then() -> None:
    heartbeats = Heartbeats(100.0)
    heartbeats.hear(READY, 101.0)
    heartbeats.forgive(500.0)
    assert find_limit(heartbeats, 500.0) == 10.0


@pytest.mark.parametrize("pieces", [[b"..!why it ", b"fails"], [b".", LAST_WORDS + b"why it fails"]])
def test_last_words_come_whole_and_are_no_beats(pieces: list[bytes]) -> None:
    heartbeats = Heartbeats(100.0)
    for piece in pieces:
        heartbeats.hear(piece, 110.0)
    assert heartbeats.last_words == b"why it fails"
    assert not heartbeats.is_ready
