"""What a run found, as frozen records and as JSON.

How it is drawn: `bench/report/`. How it was measured: `bench/scenarios/`. A file holds one `Report`: the machine, and
one `Run` for each scenario that was run, in order. `FORMAT` rises when a reader of older files would misread newer
ones; fields that are only added do not raise it.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from bench.output import write_whole

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Latency:
    """The distribution of one time, in milliseconds.

    Attributes:
        count: how many were measured.
        percentiles_ms: percentile ("50", "90", "99", "99.9", "100") to milliseconds.
        histogram: the whole HdrHistogram (microseconds), in its own compressed base64 form; empty if it was not kept.
    """

    count: int
    percentiles_ms: Mapping[str, float]
    histogram: str = ""


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What the processes of one kind used in the measured time, the warm-up left out.

    Attributes:
        kind: "server" (workers), "supervisor", "postgresql", "valkey" or "generator".
        cpu_seconds: user and system time of all of them.
        rss_bytes: resident memory of all of them, at most, as sampled. PostgreSQL's shared memory counts once.
    """

    kind: str
    processes: int
    cpu_seconds: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What the readers were checked for. A run with any of these above 0 failed.

    Attributes:
        checked: deliveries that were looked at.
        lost: acknowledged messages that a reader did not get in the time allowed after the last acknowledgement.
        doubled: deliveries of a seq that the stream had brought already.
        disordered: deliveries whose seq was not the next of its conversation.
        altered: deliveries with another text than was sent under that request.
    """

    checked: int
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    altered: int = 0

    @property
    def is_held(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.lost or self.doubled or self.disordered or self.altered)


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario, run once.

    Attributes:
        scenario: "send", "chat", "fanout", "pull", "idle", "connect" or "mixed".
        title: what sets it apart from other runs of the scenario, e.g. "16 streams, 1 message a frame".
        parameters: the options that it ran with, by option name without dashes in front.
        seconds: the measured time; the warm-up is not in it.
        counts: e.g. "acked", "delivered", "pulled", "streams", "bytes"; all of the measured time.
        errors: refused requests by ErrorInfo reason, or status code where there is none.
        latencies: by what was timed: "ack", "delivery", "pull", "welcome", "caught_up".
        uses: by kind of process; empty against a `--target` whose processes are not on this machine.
        figures: further numbers of the scenario, unit in the name: "rss_bytes_per_stream", "offered_per_second".
        verification: None for scenarios that deliver nothing.
        failure: why the run ended early or was judged failed; empty if it did not.
    """

    scenario: str
    title: str
    parameters: Mapping[str, str | int | float | bool]
    seconds: float
    counts: Mapping[str, int]
    errors: Mapping[str, int] = field(default_factory=dict)
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    uses: tuple[ProcessUse, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    verification: Verification | None = None
    failure: str = ""

    def rate(self, count: str) -> float:
        """So many of a count a second; 0 for a run that measured no time."""
        return self.counts.get(count, 0) / self.seconds if self.seconds else 0.0

    def cpu_us_per(self, count: str, *kinds: str) -> float | None:
        """Microseconds of processor time per one of a count; None if there was none, or no use is known.

        Args:
            kinds: of process; all but the generator if none is named.
        """
        used = [use for use in self.uses if (use.kind in kinds if kinds else use.kind != "generator")]
        total = self.counts.get(count, 0)
        return 1e6 * sum(use.cpu_seconds for use in used) / total if used and total else None


@dataclass(frozen=True, slots=True)
class Report:
    """All runs of one command.

    Attributes:
        command: as it was typed.
        time: when it began, RFC 3339, UTC.
        machine: "cores", "memory_bytes", "processor", "kernel", "python", "parley" (version), as text.
        limits: what this machine could do at most, measured in the same run: "group_commit_per_second",
            "stream_echo_per_second", "publish_per_second", "fsync_per_second"; empty if they were not measured.
    """

    command: str
    time: str
    machine: Mapping[str, str]
    runs: tuple[Run, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes the file anew, as a whole or not at all.

        Raises:
            OSError: it could not be written.
        """
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)
        write_whole(path, f"{text}\n".encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads what `write` wrote.

        Raises:
            OSError: it could not be read.
            ValueError: it is no report, or one of a later format.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no report of parley bench: it is no JSON") from error
        if not isinstance(data, dict) or not isinstance(data.get("format"), int):
            raise ValueError(f"{path} is no report of parley bench")
        if data["format"] > FORMAT:
            raise ValueError(f"{path} was written by a newer parley bench")
        try:
            return TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{path} is no report of parley bench: {where}: {first['msg']}") from error
