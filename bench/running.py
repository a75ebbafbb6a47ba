"""One run of one scenario, from the first process to the result."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from bench.errors import BenchError
from bench.generators import Generators
from bench.histogram import to_latency
from bench.load import Done, Part
from bench.processes import Usage
from bench.results import Latency, ProcessUse, Run, Verification
from bench.site import Site
from bench.verify import judge
from bench.window import Times, Window

_LEAD_SECONDS = 0.2
_BASELINE_SECONDS = 2.0
# Tokens are renewed at half of their life, but not more often than this.
_RENEW_SECONDS = 1.0


class Scenario(Protocol):
    """What is done to the server.

    Attributes:
        name, title, parameters: as in `Run`.
        needs_baseline: whether to measure the processes before anything is connected, too.
    """

    name: ClassVar[str]
    needs_baseline: ClassVar[bool]

    @property
    def title(self) -> str:
        """What sets the run apart."""

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """The options."""

    @property
    def connection_count(self) -> int:
        """How many connections all generators together open, at most."""

    def check(self) -> None:
        """Says no to options that make no sense. Raises: BenchError."""

    def times(self, given: Times) -> Times:
        """How long to run when so long was asked for."""

    def figures(
        self, uses: Sequence[ProcessUse], baseline: Sequence[ProcessUse], counts: Mapping[str, int], seconds: float
    ) -> Mapping[str, float]:
        """What else follows from what was measured; `Run.figures`."""

    async def prepare(self, site: Site, places: int) -> Sequence[Part]:
        """Makes users and conversations; gives each generator its part. Raises: BenchError."""


class Watcher(Protocol):
    """Shows how a run goes."""

    def phase(self, text: str, seconds: float | None = None) -> None:
        """Something begins, and will take so long if that is known."""

    def live(self, totals: Mapping[str, int], error_count: int) -> None:
        """So much was done so far."""


class Runner:
    """Runs scenarios on a site, one after the other."""

    def __init__(self, site: Site, places: int, watcher: Watcher) -> None:
        self._site = site
        self._places = places
        self._watcher = watcher
        self._generators: Generators | None = None
        self._is_interrupted = False

    def interrupt(self) -> bool:
        """Ends the sending of the present run, whose result comes all the same, marked; False if there is none."""
        if self._generators is None:
            return False
        self._is_interrupted = True
        self._generators.stop()
        return True

    async def run(self, scenario: Scenario, times: Times) -> Run:
        """Runs a scenario.

        Raises:
            BenchError: it could not begin.
        """
        times = scenario.times(times)
        self._watcher.phase(f"{scenario.name}: preparing")
        parts = await scenario.prepare(self._site, self._places)
        baseline = await self._measure_baseline() if scenario.needs_baseline else ()
        self._watcher.phase(f"{scenario.name}: connecting")
        generators = Generators(parts)
        try:
            await generators.ready()
            begin = time.monotonic_ns() + int(_LEAD_SECONDS * 1e9)
            start = begin + int(times.warmup * 1e9)
            window = Window(begin, start, start + int(times.measured * 1e9))
            generators.go(window)
            self._generators = generators
            sent = asyncio.Event()
            measuring = asyncio.create_task(self._measure(window, generators.pids, sent))
            renewing = asyncio.create_task(self._renew_tokens(generators))
            try:
                done = await generators.finish(self._watcher.live, sent)
                uses = await measuring
            finally:
                measuring.cancel()
                renewing.cancel()
            return self._conclude(scenario, window, done, uses, baseline)
        finally:
            await generators.close()
            self._generators = None

    async def _renew_tokens(self, generators: Generators) -> None:
        """Has the generators go on with fresh tokens, as often as it takes, until it is cancelled."""
        users = self._site.users
        while (seconds := users.renew_seconds) is not None:
            await asyncio.sleep(max(_RENEW_SECONDS, seconds))
            try:
                tokens = await users.renew()
            except BenchError as error:
                self._watcher.phase(str(error))  # the streams end with their tokens, which is the run's failure
            else:
                generators.renew(tokens)

    async def _measure_baseline(self) -> tuple[ProcessUse, ...]:
        """What the processes use before anything is connected."""
        self._watcher.phase("looking at the empty server", _BASELINE_SECONDS)
        usage = Usage(self._site.server_pid, [os.getpid()])
        usage.start()
        await asyncio.sleep(_BASELINE_SECONDS)
        return usage.stop()

    async def _measure(self, window: Window, pids: Sequence[int], sent: asyncio.Event) -> tuple[ProcessUse, ...]:
        """Takes what processes use in the measured part, or in as much of it as there was."""
        usage = Usage(self._site.server_pid, [*pids, os.getpid()])
        self._watcher.phase("warm-up", (window.start_ns - time.monotonic_ns()) / 1e9)
        if await _is_set_by(sent, window.start_ns):
            return ()
        self._watcher.phase("measuring", window.seconds)
        usage.start()
        await _is_set_by(sent, window.end_ns)
        uses = usage.stop()
        self._watcher.phase("checking what came")
        return uses

    def _conclude(
        self,
        scenario: Scenario,
        window: Window,
        done: Sequence[Done],
        uses: tuple[ProcessUse, ...],
        baseline: Sequence[ProcessUse],
    ) -> Run:
        counts: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        for each in done:
            counts.update(each.reading.counts)
            errors.update(each.reading.errors)
        names = {name for each in done for name in each.reading.times}
        latencies: dict[str, Latency] = {
            name: to_latency(each.reading.times[name] for each in done if name in each.reading.times)
            for name in sorted(names)
        }
        evidence = [each.evidence for each in done if each.evidence is not None]
        verification = judge(evidence) if evidence else None
        end_ns = min(window.end_ns, max(each.finished_ns for each in done))
        seconds = max(0.0, (end_ns - window.start_ns) / 1e9)
        return Run(
            scenario=scenario.name,
            title=scenario.title,
            parameters=scenario.parameters,
            seconds=seconds,
            counts=dict(counts),
            errors=dict(errors),
            latencies=latencies,
            uses=uses,
            figures=scenario.figures(uses, baseline, counts, seconds),
            verification=verification,
            failure=self._failure(done, errors, verification),
        )

    def _failure(self, done: Sequence[Done], errors: Mapping[str, int], verification: Verification | None) -> str:
        """Why the run is no good, in a line; empty if it is."""
        if broken := [each.failure for each in done if each.failure]:
            failure = broken[0]
        elif verification is not None and not verification.is_held:
            failure = (
                f"verification failed: {verification.lost} lost, {verification.doubled} doubled, "
                f"{verification.disordered} out of order, {verification.altered} altered"
            )
        elif self._is_interrupted:
            return "interrupted"
        elif errors:
            failure = "refused: " + ", ".join(f"{reason} {count}" for reason, count in sorted(errors.items()))
        else:
            return ""
        return "; ".join(filter(None, (failure, self._site.find_trouble())))


async def _is_set_by(event: asyncio.Event, time_ns: int) -> bool:
    """Waits for an event until then."""
    try:
        async with asyncio.timeout(max(0.0, (time_ns - time.monotonic_ns()) / 1e9)):
            await event.wait()
    except TimeoutError:
        return False
    return True
