"""Each scenario against a real server with two workers: it does what it says, verifies, and says so."""

from pathlib import Path

import pytest

from tests.bench.running import Ended, bench
from tests.support.servers import RunningServer

pytestmark = pytest.mark.timeout(120)
_SHORT = ("--warmup", "0.2", "--seconds", "0.8")


def run(server: RunningServer, directory: Path, *arguments: str) -> Ended:
    ended = bench(directory, *arguments, "--target", server.target, *_SHORT)
    assert ended.status == 0, ended.errors
    assert not ended.run.failure
    return ended


def test_chat_counts_times_and_verifies(server: RunningServer, tmp_path: Path):
    found = run(server, tmp_path, "chat", "--conversations", "3", "--readers", "2", "--generators", "2").run
    assert found.counts["acked"] > 0
    assert found.verification is not None
    # Two readers are brought each message of the run, warm-up and end included.
    assert found.verification.checked >= 2 * found.counts["acked"]
    assert found.latencies["ack"].count > 0
    assert found.latencies["delivery"].count > 0
    assert found.parameters["readers"] == 2
    assert found.errors == {}


def test_chat_at_a_rate_sends_at_that_rate(server: RunningServer, tmp_path: Path):
    found = run(server, tmp_path, "chat", "--conversations", "2", "--frame", "1", "--rate", "100").run
    # 80 in the measured part; what is late counts when it is sent.
    assert found.latencies["delivery"].count == pytest.approx(80, abs=3)


@pytest.mark.parametrize("spread", [(), ("--spread",)])
def test_many_conversations_share_few_streams(server: RunningServer, tmp_path: Path, spread: tuple[str, ...]):
    found = run(server, tmp_path, "chat", "--conversations", "10", "--streams", "2", "--frame", "7", *spread).run
    assert found.verification is not None
    assert found.verification.checked > 0


def test_messages_that_are_stored_before_are_sent_to_a_target(server: RunningServer, tmp_path: Path):
    found = run(server, tmp_path, "chat", "--conversations", "3", "--stored", "1100").run
    assert found.parameters["stored"] == 1100
    assert found.verification is not None
    assert found.verification.checked > 0


def test_send_calls(server: RunningServer, tmp_path: Path):
    found = run(server, tmp_path, "send", "--outstanding", "6", "--conversations", "2").run
    assert found.counts["acked"] > 0
    assert found.latencies["delivery"].count > 0


def test_fanout_brings_each_message_to_each_stream(server: RunningServer, tmp_path: Path):
    options = ("--streams", "12", "--streams-per-user", "6", "--window", "2", "--generators", "2")
    found = run(server, tmp_path, "fanout", *options).run
    assert found.verification is not None
    assert found.verification.checked % 12 == 0
    assert found.counts["delivered"] > found.counts["acked"]


def test_pull_reads_pages_of_what_was_written(server: RunningServer, tmp_path: Path):
    found = run(server, tmp_path, "pull", "--history", "1100", "--limit", "30", "--outstanding", "2").run
    assert found.counts["pulled"] == 30 * found.counts["pages"] > 0


def test_pull_of_a_log_shorter_than_a_page(server: RunningServer, tmp_path: Path):
    found = run(server, tmp_path, "pull", "--history", "5").run
    assert found.counts["pulled"] == 5 * found.counts["pages"] > 0


def test_idle_streams_stay_open(server: RunningServer, tmp_path: Path):
    found = run(server, tmp_path, "idle", "--streams", "10", "--conversations", "2", "--members", "5").run
    assert found.counts["streams"] == 10
    assert found.verification is None


def test_storm_is_brought_what_was_missed(server: RunningServer, tmp_path: Path):
    options = ("--streams", "10", "--conversations", "2", "--members", "5", "--backlog", "3")
    found = run(server, tmp_path, "connect", *options).run
    assert found.counts["streams"] == 10
    assert found.counts["delivered"] == 10 * 2 * 3
    assert found.latencies["caught_up"].count == 10


def test_people_do_everything(server: RunningServer, tmp_path: Path):
    options = ("--streams", "10", "--conversations", "2", "--members", "5", "--rate", "60", "--ack-seconds", "0.3")
    found = run(server, tmp_path, "mixed", *options, "--repeat-every", "5").run
    for name in ("acked", "delivered", "typing", "receipts", "typed"):
        assert found.counts[name] > 0, name


def test_own_server_is_measured_and_gone_afterwards(tmp_path: Path):
    options = ("--stored", "3001", "--html", str(tmp_path / "page.html"))
    ended = bench(tmp_path, "chat", *options, *_SHORT)
    assert ended.status == 0, ended.errors
    assert {use.kind for use in ended.run.uses} == {"supervisor", "server", "postgresql", "valkey", "generator"}
    assert ended.run.cpu_us_per("acked")
    assert "<html" in (tmp_path / "page.html").read_text()
