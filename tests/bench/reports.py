"""A made-up report with a run of each scenario and sweeps along each parameter, for tests of how reports are shown."""

from bench.results import Latency, ProcessUse, Report, Run, Verification

MACHINE = {
    "cores": "2",
    "memory_bytes": str(24 * 1024**3),
    "processor": "Some Processor",
    "kernel": "Linux 6.1",
    "python": "CPython 3.11.2",
    "parley": "0.1.0",
}
LIMITS = {"group_commit_per_second": 60_000.0, "stream_echo_per_second": 12_000.0, "fsync_per_second": 3_000.0}
_MIB = 1024**2


def make_run(
    scenario: str = "chat",
    title: str = "8 streams",
    *,
    count: str = "acked",
    per_second: float = 20_000.0,
    p50_ms: float = 2.0,
    cpu_us: float = 40.0,
    server_mib: float = 120.0,
    verification: Verification | None = None,
    failure: str = "",
    latency: str = "delivery",
    **parameters: str | float | bool,
) -> Run:
    """A run of ten seconds with such figures; two thirds of the CPU are the server's."""
    total = int(per_second * 10)
    cpu_seconds = cpu_us * total / 1e6
    spread = {"50": 1.0, "90": 1.9, "99": 4.5, "99.9": 11.0, "100": 30.0}
    return Run(
        scenario=scenario,
        title=title,
        parameters=parameters,
        seconds=10.0,
        counts={count: total},
        latencies={latency: Latency(total, {name: p50_ms * each for name, each in spread.items()})} if latency else {},
        uses=(
            ProcessUse("supervisor", 1, 0.01, 30 * _MIB),
            ProcessUse("server", 2, cpu_seconds * 0.66, int(server_mib * _MIB)),
            ProcessUse("postgresql", 12, cpu_seconds * 0.3, 90 * _MIB),
            ProcessUse("valkey", 1, cpu_seconds * 0.04, 12 * _MIB),
            ProcessUse("generator", 2, cpu_seconds, 80 * _MIB),
        ),
        verification=verification,
        failure=failure,
    )


def make_report(*runs: Run, limits: dict[str, float] | None = None) -> Report:
    """A report of these runs."""
    return Report(
        "parley bench suite", "2026-11-22T10:00:00+00:00", MACHINE, runs, LIMITS if limits is None else limits
    )


def make_whole_report() -> Report:
    """A report as `parley bench suite` could write it."""
    held = Verification(checked=200_000)
    runs = [make_run("send", "64 outstanding", per_second=5_100, cpu_us=228, latency="ack", p50_ms=11.8)]
    for rate, p50_ms in ((1_000, 1.4), (2_000, 1.6), (5_000, 3.8), (10_000, 9.0)):
        runs.append(
            make_run(
                title=f"open loop at {rate:,}/s",
                per_second=rate,
                p50_ms=p50_ms,
                cpu_us=90,
                verification=held,
                rate=float(rate),
                frame=1,
            )
        )
    for frame, per_second, cpu_us in ((1, 8_200, 120), (5, 19_000, 62), (20, 27_500, 41), (100, 31_000, 36)):
        runs.append(
            make_run(
                title=f"{frame} a frame",
                per_second=per_second,
                cpu_us=cpu_us,
                p50_ms=4.0,
                verification=held,
                frame=frame,
                streams=8,
            )
        )
    for conversations, cpu_us in ((10, 41), (100, 42), (1_000, 44), (10_000, 47)):
        title = f"{conversations:,} conversations"
        runs.append(make_run(title=title, cpu_us=cpu_us, verification=held, conversations=conversations, frame=20))
    for streams, cpu_us in ((10, 41), (100, 45), (1_000, 52)):
        runs.append(make_run(title=f"{streams:,} streams", cpu_us=cpu_us, verification=held, streams=streams, frame=10))
    for history in (100, 10_000, 1_000_000):
        title = f"20 of {history:,}"
        runs.append(
            make_run(
                "pull", title, count="pulled", per_second=9_000, cpu_us=80, latency="pull", p50_ms=1.1, history=history
            )
        )
    runs.append(
        make_run(
            "fanout",
            "1 to 1,000 streams",
            count="delivered",
            per_second=120_000,
            cpu_us=7,
            p50_ms=22.0,
            verification=Verification(checked=1_200_000, lost=3),
        )
    )
    for streams in (100, 500, 1_000, 2_000):
        title, mib = f"{streams:,} idle streams", 88 + streams * 52 / 1024
        runs.append(
            make_run(
                "idle",
                title,
                count="streams",
                per_second=streams / 10,
                cpu_us=900,
                server_mib=mib,
                latency="",
                streams=streams,
            )
        )
    runs.append(
        make_run(
            "connect",
            "1,000 streams resume",
            count="streams",
            per_second=100,
            cpu_us=1_900,
            latency="caught_up",
            p50_ms=800.0,
            streams=1_000,
        )
    )
    runs.append(
        make_run("mixed", "200 people", per_second=900, cpu_us=300, verification=held, failure="the server ended")
    )
    return make_report(*runs)
