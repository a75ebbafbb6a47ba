"""Which seqs a device received in one conversation. Pure.

Only ranges are kept, since thousands of speakers receive everything; what was in the entries is kept by listeners.
"""

from dataclasses import dataclass, field

from bench.replay.compare import Range


@dataclass(slots=True)
class Tally:
    """One conversation on one device.

    Attributes:
        ranges: of seqs that came one after the other.
        last_seq: the highest that came.
        last_on_stream: the last that came on the stream that is open; 0: nothing yet.
        repeats: how many came again on a later stream, as they may.
        faults: what must not be: something again, or out of order, on one stream.
    """

    ranges: list[Range] = field(default_factory=list)
    last_seq: int = 0
    repeats: int = 0
    faults: list[str] = field(default_factory=list)
    last_on_stream: int = 0

    def begin_stream(self) -> None:
        """The device has connected again."""
        self.last_on_stream = 0

    def add(self, seq: int) -> bool:
        """Notes an entry; returns whether it is new to the device."""
        if seq <= self.last_on_stream:
            self.faults.append(f"seq {seq} came after seq {self.last_on_stream} on one stream")
            return False
        self.last_on_stream = seq
        if seq <= self.last_seq:
            self.repeats += 1
            return False
        if self.ranges and seq == self.last_seq + 1:
            self.ranges[-1] = (self.ranges[-1][0], seq)
        else:
            self.ranges.append((seq, seq))
        self.last_seq = seq
        return True
