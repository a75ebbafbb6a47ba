"""What a server's processes and the generator's use while a run is measured: processor time and memory, by kind.

A process that ends in between is not lost. A child of PostgreSQL's first process is in that one's time once it was
waited for; of others the figures of the last sample are kept. Only for processes of this machine.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil

from bench.results import ProcessUse

KINDS = ("supervisor", "server", "postgresql", "valkey", "generator")

_SAMPLE_SECONDS = 1.0
_READ_ATTEMPTS = 5
_JOIN_SECONDS = 10.0

# A pid is given again after its process ended; with the time of its start it is one process's alone.
_Identity = tuple[int, float]


class Usage:
    """Measures from `start` to `stop`, once.

    Args:
        server_pid: of `parley serve`, whose children are the workers and the embedded databases. None: of a server
            elsewhere, of which nothing is known.
        generator_pids: of the processes that make the load; their children are not counted.
    """

    def __init__(self, server_pid: int | None, generator_pids: Sequence[int]) -> None:
        self._server_pid = server_pid
        self._generator_pids = tuple(generator_pids)
        self._before: dict[_Identity, float] = {}
        self._last: dict[_Identity, _Sample] = {}
        self._peak_rss: dict[str, int] = {}
        self._peak_count: dict[str, int] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, name="usage", daemon=True)

    def start(self) -> None:
        """Takes the first sample, and from then on one a second in a thread."""
        self._sample()
        self._before = {identity: sample.cpu_seconds for identity, sample in self._last.items()}
        self._thread.start()

    def stop(self) -> tuple[ProcessUse, ...]:
        """Takes the last sample; gives a use for each kind of which there was a process."""
        self._is_over.set()
        self._thread.join(_JOIN_SECONDS)
        self._sample()
        cpu = dict.fromkeys(KINDS, 0.0)
        for identity, sample in self._last.items():
            cpu[sample.kind] += max(sample.cpu_seconds - self._before.get(identity, 0.0), 0.0)
        return tuple(
            ProcessUse(kind, self._peak_count[kind], round(cpu[kind], 2), self._peak_rss[kind])
            for kind in KINDS
            if kind in self._peak_count
        )

    def _sample_on(self) -> None:
        while not self._is_over.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        rss = dict.fromkeys(KINDS, 0)
        count = dict.fromkeys(KINDS, 0)
        for identity, sample in self._read_all():
            self._last[identity] = sample
            rss[sample.kind] += sample.rss_bytes
            count[sample.kind] += sample.process_count
        for kind in KINDS:
            if count[kind]:
                self._peak_rss[kind] = max(rss[kind], self._peak_rss.get(kind, 0))
                self._peak_count[kind] = max(count[kind], self._peak_count.get(kind, 0))

    def _read_all(self) -> "Iterator[tuple[_Identity, _Sample]]":
        """Reads every process that is there; one that ends meanwhile is left out."""
        for pid in self._generator_pids:
            yield from _read(pid, "generator")
        if self._server_pid is None:
            return
        yield from _read(self._server_pid, "supervisor")
        try:
            children = psutil.Process(self._server_pid).children()
        except psutil.NoSuchProcess:
            return
        for child in children:
            yield from _read(child.pid, None)


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a process, with its children if it is one of a server's, has used since it began."""

    kind: str
    process_count: int
    cpu_seconds: float
    rss_bytes: int


def _read(pid: int, kind: str | None) -> Iterator[tuple[_Identity, _Sample]]:
    """Reads a process; with its children, and by its name, where no kind is given."""
    try:
        process = psutil.Process(pid)
        if kind is not None:
            sample = _Sample(kind, 1, sum(process.cpu_times()[:2]), process.memory_info().rss)
        else:
            family = [process, *process.children(recursive=True)]
            sample = _Sample(_kind_of(process.name()), len(family), tree_cpu_seconds(pid), _tree_rss_bytes(family))
        yield (pid, process.create_time()), sample
    except psutil.NoSuchProcess:
        return


def _kind_of(name: str) -> str:
    """The kind of a child of the supervisor: it has no other children than these."""
    if name.startswith("postgres"):
        return "postgresql"
    return "valkey" if name.startswith(("valkey", "redis")) else "server"


def tree_cpu_seconds(pid: int) -> float:
    """Returns the processor time of a process and all that it ever started.

    What has ended and was waited for is in the process's own figures. One that ends while this reads would be counted
    twice or not at all, so it is read again until none did.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    process = psutil.Process(pid)
    for _ in range(_READ_ATTEMPTS):
        before = process.cpu_times()
        living = 0.0
        for child in process.children(recursive=True):
            try:
                living += sum(child.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        after = process.cpu_times()
        if before[2:4] == after[2:4]:
            break
    return float(sum(after[:4]) + living)


def _tree_rss_bytes(family: Sequence[psutil.Process]) -> int:
    """The resident memory of processes that share some: what is shared counts once, as much as one has of it at most.

    That is less than the truth where each holds another part, and takes no walk through page tables, which would slow
    down what is measured.
    """
    private, shared = 0, 0
    for process in family:
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        own_shared = getattr(memory, "shared", 0)  # Linux alone
        private += memory.rss - own_shared
        shared = max(shared, own_shared)
    return private + shared
