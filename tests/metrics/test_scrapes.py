"""Metrics of a real server with two workers: what was done is what they say, whatever becomes of the workers."""

import asyncio
import contextlib
import operator
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from parley.v1 import chat_pb2, message_pb2

from service.metrics.catalogue import METHODS, SUPERVISOR_METRICS, WORKER_METRICS, Kind, Metric
from tests.support.people import Person, fresh_name, refusal, registered
from tests.support.scrapes import ON, Metrics
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "watching.md"


@pytest.fixture(scope="module")
def measured() -> Iterator[RunningServer]:
    """A server of two workers that shows metrics."""
    with running_server(workers=2, settings=ON | {"PARLEY_RETRY_MAX_ATTEMPTS": "2"}) as server:
        yield server


async def until(
    server: RunningServer, condition: Callable[[Metrics], bool], what: str, limit_seconds: float = 15
) -> Metrics:
    """Scrapes until it holds; gives the scrape."""

    async def look() -> Metrics | None:
        metrics = await asyncio.to_thread(Metrics, server)
        return metrics if condition(metrics) else None

    found = await wait_for(look, what=what, limit_seconds=limit_seconds)
    assert found is not None
    return found


def worker_processes(server: RunningServer) -> list[psutil.Process]:
    """The workers, by their place."""
    children = psutil.Process(server.process.pid).children()
    found = {" ".join(child.cmdline()): child for child in children}
    return [found[name] for name in sorted(found) if name.startswith("parley worker")]


def samples_of(metric: Metric) -> set[str]:
    """The names of a metric's samples."""
    if metric.kind is Kind.HISTOGRAM:
        return {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
    return {metric.name}


async def send_on_both(server: RunningServer, sender: Person, conversation_id: str, count: int) -> None:
    """Sends over fresh connections until both workers have taken some; each gets some of what is sent."""
    for nth in range(count):
        async with sender.chat(hello=True, device_id=f"d{nth}", no_echo=True, start=chat_pb2.START_LATEST) as stream:
            await stream.send(message_pb2.SendRequest(conversation_id=conversation_id, text=f"{nth}"))


async def test_counts_are_what_was_done_over_both_workers(measured: RunningServer) -> None:
    before = await asyncio.to_thread(Metrics, measured)
    async with registered(measured.target) as alice, registered(measured.target) as bob:
        pair = ":".join(sorted((alice.name, bob.name)))
        await alice.send(pair, "first")
        latest = {"start": chat_pb2.START_LATEST}  # the first message is not read from the log, and so encoded again
        async with bob.chat(**latest) as reader, bob.chat(device_id="tablet", **latest) as other:
            for _ in range(2):
                await alice.send(pair, "again", request_id="same")
            with_texts = [message_pb2.SendRequest(conversation_id=pair, text=f"{nth}") for nth in range(20)]
            async with alice.chat(no_echo=True, device_id="sender", **latest) as stream:
                await stream.send(*with_texts)
                for one in (reader, other):
                    await one.until(lambda one=one: len(one.seqs(pair)) == 21, "all")
            async with refusal("CONVERSATION_NOT_FOUND"):
                await alice.send("nobody", "hello")
            async with refusal("REQUEST_ID_REUSED"):
                await alice.send(pair, "another", request_id="same")

    def grown(metrics: Metrics, name: str, **labels: str) -> float:
        return metrics.value(name, **labels) - before.value(name, **labels)

    def counts(metrics: Metrics) -> dict[str, float]:
        return {
            "accepted": grown(metrics, "sends_total", result="accepted"),
            "deduplicated": grown(metrics, "sends_total", result="deduplicated"),
            "reused": grown(metrics, "sends_refused_total", reason="REQUEST_ID_REUSED"),
            "encoded": grown(metrics, "messages_encoded_total") - grown(metrics, "gap_messages_total"),
            "delivered": grown(metrics, "deliveries_total"),
            "delivered in frames": grown(metrics, "frame_messages_sum"),
            "batched": grown(metrics, "batch_messages_sum"),
            "commits that are no batch": grown(metrics, "commit_seconds_count")
            - grown(metrics, "batch_messages_count"),
            "streams": grown(metrics, "streams_opened_total"),
            "calls": grown(metrics, "call_seconds_count", method="Send"),
            "refused as absent": grown(metrics, "errors_total", method="Send", reason="CONVERSATION_NOT_FOUND"),
            "refused as reused": grown(metrics, "errors_total", method="Send", reason="REQUEST_ID_REUSED"),
        }

    expected = {
        "accepted": 22,
        "deduplicated": 1,
        "reused": 1,
        "encoded": 22,
        "delivered": 42,
        "delivered in frames": 42,
        "batched": 26,  # the first one twice, since its conversation was not there yet; the repeat and the refused, too
        "commits that are no batch": 0,
        "streams": 3,
        "calls": 5,
        "refused as absent": 1,
        "refused as reused": 1,
    }
    try:
        after = await until(measured, lambda metrics: counts(metrics) == expected, "the counts")
    except AssertionError:
        assert counts(await asyncio.to_thread(Metrics, measured)) == expected
        raise
    assert 0 < grown(after, "frame_messages_count") <= 42
    assert grown(after, "event_loop_lag_seconds_count") > 0
    assert after.value("workers_ready") == 2
    await until(measured, lambda m: sum(m.by_worker("streams")) == 0, "no stream left")


def test_first_unforeseen_error_can_be_seen_to_grow(measured: RunningServer) -> None:
    """Prometheus takes a series that begins at 1 for one that has not grown."""
    shown = Metrics(measured).samples
    for name, label in (("parley_errors_total", "reason"), ("parley_calls_total", "code")):
        assert {
            shown.get((name, tuple(sorted({label: "INTERNAL", "method": method}.items())))) for method in METHODS
        } <= {0.0}, name


async def test_errors_on_streams_and_of_single_messages_are_counted(measured: RunningServer) -> None:
    async with registered(measured.target) as alice, alice.chat() as stream:
        bad = message_pb2.SendRequest(conversation_id=f"{alice.name}:{alice.name}", text="x" * 20_000)
        await stream.send(bad, bad)
        await stream.write(ack=chat_pb2.AckFrame(positions=[chat_pb2.Position(conversation_id="not:mine", seq=1)]))
        await stream.until(lambda: stream.errors, "the refused ack")
        await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=[bad]))
    metrics = await until(
        measured, lambda m: m.value("errors_total", method="BatchSend", reason="MESSAGE_TOO_LARGE") == 1, "the batch"
    )
    assert metrics.value("errors_total", method="Chat", reason="MESSAGE_TOO_LARGE") == 2
    assert metrics.value("errors_total", method="Chat", reason="CONVERSATION_NOT_FOUND") == 1


async def make_dead_letter(server: RunningServer) -> float:
    """Uses up a message's attempts; gives how many dead letters there are then."""
    before = (await asyncio.to_thread(Metrics, server)).samples[("parley_dead_letters_total", ())]
    async with registered(server.target) as alice, registered(server.target) as bob:
        pair = ":".join(sorted((alice.name, bob.name)))
        await alice.send(pair, "bad")
        async with bob.chat(ack_mode=chat_pb2.ACK_MODE_MANUAL, device_id="worker") as stream:
            for nth in (1, 2):
                await stream.until(lambda nth=nth: len(stream.messages) == nth, "the next attempt")
                await stream.write(nack=chat_pb2.NackFrame(nacks=[chat_pb2.Nack(conversation_id=pair, seq=1)]))
            metrics = await until(server, lambda m: m.value("dead_letters_total") > before, "the dead letter", 20)
    return metrics.value("dead_letters_total")


async def test_manual_attempts_and_dead_letters_are_counted(measured: RunningServer) -> None:
    before = await asyncio.to_thread(Metrics, measured)
    assert await make_dead_letter(measured) == before.value("dead_letters_total") + 1

    def grown(metrics: Metrics, attempt: str) -> float:
        return sum(
            each.value("manual_deliveries_total", attempt=attempt) * sign for each, sign in ((metrics, 1), (before, -1))
        )

    await until(measured, lambda m: grown(m, "first") == grown(m, "again") == 1, "both attempts")


async def test_users_and_conversations_add_no_series(measured: RunningServer) -> None:
    async with registered(measured.target) as alice:
        await alice.make_group(title="one")
        async with alice.chat():
            pass
        await alice.send(f"{alice.name}:{alice.name}", "first")  # each call has a series when it was first answered
        called = {"Send": "OK", "CreateConversation": "OK", "Chat": "CANCELLED"}
        first = await until(
            measured,
            lambda m: all(m.value("calls_total", method=name, code=code) > 0 for name, code in called.items()),
            "the first calls",
        )
        shown = set(first.samples)
        before = len(shown)
        for _ in range(200):
            await alice.send(alice.name + ":" + alice.name, "note to self", request_id=fresh_name())
        for _ in range(50):
            await alice.send(await alice.make_group(), "hello")
        for nth in range(90):
            async with alice.chat(device_id=f"device{nth}"):
                pass
        later = await until(measured, lambda m: m.value("call_seconds_count", method="Send") >= 250, "all sends")
    assert set(later.samples) == shown
    assert len(shown) < 1000, before


async def test_counters_go_on_when_a_worker_is_killed(measured: RunningServer) -> None:
    async with registered(measured.target) as alice:
        await send_on_both(measured, alice, f"{alice.name}:{alice.name}", 6)
        before = await until(measured, lambda m: m.value("sends_total", result="accepted") >= 6, "the sends")
        ends = before.value("process_ends_total", process="worker 1")
        worker_processes(measured)[1].kill()
        lowest = dict(before.samples)

        def never_falls(metrics: Metrics) -> bool:
            for series, value in metrics.samples.items():
                if series[0].endswith(("_total", "_bucket", "_count")) and "cpu_seconds" not in series[0]:
                    assert value >= lowest.get(series, 0.0), series
                    lowest[series] = value
            return metrics.value("process_ends_total", process="worker 1") > ends

        gone = await until(measured, never_falls, "the end of the worker")
        assert gone.value("sends_total", result="accepted") >= before.value("sends_total", result="accepted")
        back = await until(measured, lambda m: never_falls(m) and m.value("workers_ready") == 2, "the next worker")
        begun = back.value("feed_sweeps_total")
        await until(measured, lambda m: never_falls(m) and m.value("feed_sweeps_total") > begun + 4, "both count on")
        assert len(back.by_worker("streams")) == 2


async def test_new_workers_show_neither_gauges_of_the_dead_nor_fewer_dead_letters(measured: RunningServer) -> None:
    letters = await make_dead_letter(measured)
    async with contextlib.AsyncExitStack() as streams:
        metrics, opened = await asyncio.to_thread(Metrics, measured), 0
        while not all(metrics.by_worker("streams")):  # each user's connection is one of the two workers', by chance
            reader = await streams.enter_async_context(registered(measured.target))
            await streams.enter_async_context(reader.chat())
            opened += 1
            metrics = await until(
                measured, lambda m, opened=opened: sum(m.by_worker("streams")) == opened, "the stream"
            )

        def ends(metrics: Metrics) -> list[float]:
            return [metrics.value("process_ends_total", process=f"worker {nth}") for nth in (0, 1)]

        def are_replaced(now: Metrics) -> bool:
            assert now.value("dead_letters_total") == letters
            return all(map(operator.gt, ends(now), ends(metrics))) and now.value("workers_ready") == 2

        for worker in worker_processes(measured):
            worker.kill()
        back = await until(measured, are_replaced, "new workers")
        assert back.by_worker("streams") == [0, 0], "the streams ended with their workers"


async def test_stopped_worker_is_still_scraped(measured: RunningServer) -> None:
    """Nothing is asked of a worker: one that hangs costs a scrape nothing."""
    hung = worker_processes(measured)[0]
    hung.suspend()
    try:
        assert len((await asyncio.to_thread(Metrics, measured)).by_worker("streams")) == 2
    finally:
        hung.resume()


def test_page_says_what_the_server_shows(measured: RunningServer) -> None:
    rows = [
        line for line in PAGE.read_text().splitlines() if re.match(r"\| `parley_\w+` \| (counter|gauge|hist)", line)
    ]
    expected = [to_row(metric) for metric in (*WORKER_METRICS, *SUPERVISOR_METRICS)]
    assert rows == expected, "the table should be:\n" + "\n".join(expected)
    wanted = {name for metric in WORKER_METRICS + SUPERVISOR_METRICS for name in samples_of(metric)}
    wanted.remove("parley_certificate_expiry_timestamp_seconds")  # this server has no TLS
    assert {name for name, _ in Metrics(measured).samples} == wanted


def to_row(metric: Metric) -> str:
    """The page's line for a metric."""
    kind = "counter" if metric.kind is Kind.SHARED else str(metric.kind)
    of_worker = ("worker",) if metric.kind is Kind.GAUGE and metric in WORKER_METRICS else ()
    labels = ", ".join(f"`{label}`" for label in (*metric.labels, *of_worker))
    return f"| `{metric.name}` | {kind} | {labels} | {metric.meaning} |"


def test_off_by_default_and_no_port(server: RunningServer) -> None:
    assert "Metrics:" not in server.text
    supervisor = psutil.Process(server.process.pid)
    assert not [each for each in supervisor.net_connections("inet") if each.status == psutil.CONN_LISTEN]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("9090", r"metrics\.listen \(variable PARLEY_METRICS_LISTEN\): '9090' is not allowed: it must be host:port"),
        ("127.0.0.1:99999", r"'127\.0\.0\.1:99999' is not allowed: it must be host:port"),
        ("203.0.113.7:9090", r"can't listen on 203\.0\.113\.7:9090: "),
    ],
)
def test_bad_address_is_refused_in_one_line(tmp_path: Path, value: str, says: str) -> None:
    output = start_and_fail(tmp_path, value)
    assert re.search(says, output), output
    assert len(output.splitlines()) == 1, output


def test_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        output = start_and_fail(tmp_path, address)
    assert (
        f"the address {address} is in use by another program; choose another one with PARLEY_METRICS_LISTEN" in output
    )


def start_and_fail(directory: Path, listen: str) -> str:
    """Starts a server that can't; gives what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "service", "serve"],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")},
            "PARLEY_DATA_DIR": str(directory / "data"),
            "PARLEY_LISTEN": "127.0.0.1:0",
            "PARLEY_METRICS_LISTEN": listen,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 1, ended
    return ended.stderr.strip()
