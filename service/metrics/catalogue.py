"""Every metric: its name, what it says, its labels with all values that they can have. Loads no gRPC.

All series are known from the start, so none can come with a user, a conversation or a device.
`worker/composition/metrics.py` says where a worker's numbers come from, `host/metrics_exposition.py` has the
supervisor's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from parley.v1 import chat_service_pb2

from service.domain import errors
from service.metrics.histogram import MESSAGES, SECONDS


class Kind(StrEnum):
    """How the numbers of several workers become one."""

    COUNTER = "counter"  # added up
    SHARED = "shared"  # a counter that each worker reads from the database: the highest is the latest
    GAUGE = "gauge"  # shown for each worker
    HISTOGRAM = "histogram"  # added up


# The values of a series' labels, in order.
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        labels: each label's values.
        bounds: of a histogram's buckets.
        is_sparse: series that are zero are left out, but for those of INTERNAL: their labels allow for very many.
    """

    name: str
    kind: Kind
    meaning: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    is_sparse: bool = False

    @property
    def size(self) -> int:
        """How many numbers a series has: a histogram's are its buckets, the unbounded one, and the sum."""
        return len(self.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1

    def keys(self) -> list[Key]:
        """All series, in the order in which they lie in a segment."""
        return list(product(*self.labels.values()))


_METHODS = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].methods
METHODS = tuple(method.name for method in _METHODS)
UNARY_METHODS = tuple(method.name for method in _METHODS if not (method.client_streaming or method.server_streaming))
# https://grpc.github.io/grpc/core/md_doc_statuscodes.html; this file loads no gRPC.
CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
REASONS = tuple(sorted({error.reason for error in errors.ParleyError.__subclasses__()}))


def _counter(name: str, meaning: str, **labels: tuple[str, ...]) -> Metric:
    return Metric(name, Kind.COUNTER, meaning, labels)


def _gauge(name: str, meaning: str) -> Metric:
    return Metric(name, Kind.GAUGE, meaning)


def _seconds(name: str, meaning: str, **labels: tuple[str, ...]) -> Metric:
    return Metric(name, Kind.HISTOGRAM, meaning, labels, SECONDS)


def _messages(name: str, meaning: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, meaning, {}, MESSAGES)


WORKER_METRICS = (
    _counter(
        "parley_sends_total",
        "Messages answered as stored; deduplicated: stored before, by an earlier send.",
        result=("accepted", "deduplicated"),
    ),
    _counter(
        "parley_sends_refused_total",
        "Messages that were well-formed and not stored, by the reason that their sender got.",
        reason=REASONS,
    ),
    _messages("parley_batch_messages", "Messages of a batch, as one call of the database stores them."),
    _seconds("parley_commit_seconds", "Time of such a call, its commit included; of those that succeeded."),
    _seconds("parley_lane_wait_seconds", "How long the oldest message of a batch had waited for its turn."),
    _gauge("parley_lane_messages", "Messages that wait to be stored or are being stored."),
    _gauge("parley_lane_sidings", "Conversations that wait alone, since another transaction holds them."),
    _counter("parley_batch_failures_total", "Calls to store a batch that did not succeed, and were tried again."),
    _counter(
        "parley_messages_encoded_total",
        "Messages made into bytes for streams: once after the commit, and once when they are read from the log.",
    ),
    _seconds(
        "parley_delivery_seconds",
        "From a message's commit, by PostgreSQL's clock, to when the streams of this worker were handed it, by the"
        " worker's. Ten messages a second at most are looked at.",
    ),
    _counter("parley_deliveries_total", "Messages written to streams; one for each reader."),
    _messages("parley_frame_messages", "Messages of a frame to a client; frames without one are not in it."),
    _counter("parley_frames_total", "Frames written to clients."),
    _counter("parley_frame_bytes_total", "Bytes of those frames."),
    _gauge("parley_streams", "Open streams."),
    _counter("parley_streams_opened_total", "Streams that were opened."),
    _gauge("parley_channels", "Conversations that somebody listens to."),
    _gauge("parley_replays_running", "Streams that are being brought up from the past now."),
    _gauge("parley_replays_waiting", "Streams that wait for their turn to be brought up."),
    _counter("parley_replay_steps_total", "Steps of such replays, some dozens of conversations each."),
    _counter("parley_history_reads_total", "Reads of the log for replays."),
    _counter("parley_gap_reads_total", "Reads of the log for what the bus did not bring in time."),
    _counter("parley_gap_messages_total", "Entries that were repaired in this way."),
    _counter("parley_feed_sweeps_total", "Reads of the commit feed, once a second."),
    _counter("parley_bus_published_total", "Messages published on the bus, beats included."),
    _counter("parley_bus_dropped_total", "Messages that could not be published; the commit feed brings them."),
    _counter("parley_bus_received_total", "Messages heard on the bus, without beats."),
    _counter(
        "parley_bus_foreign_total",
        "Messages heard on the bus and left out, since a copy of the database sent them, or a worker not known yet.",
    ),
    _gauge("parley_bus_waiting", "Messages that wait to be published."),
    _gauge("parley_bus_up", "1 while the bus carries the worker's own beat."),
    _gauge("parley_presence_up", "1 while Redis takes presence: all that it needs is tried every 3 s."),
    _counter("parley_bus_beats_total", "Own beats heard, once a second."),
    _gauge("parley_bus_beat_lag_seconds", "How long the last own beat was under way, there and back."),
    _counter("parley_database_statements_total", "Statements; those inside transactions are not counted."),
    _gauge("parley_database_up", "1 while PostgreSQL answers, which is looked at once a second."),
    _gauge("parley_pool_connections", "Connections of the pool that are lent."),
    _gauge("parley_pool_max_connections", "Connections that the pool lends at most: `database.pool_size`."),
    _counter("parley_pool_waits_total", "Times that somebody had to wait for a connection of the pool."),
    _counter("parley_pool_wait_seconds_total", "How long they waited in all."),
    _seconds("parley_call_seconds", "Time of a unary call, refused ones included.", method=UNARY_METHODS),
    Metric(
        "parley_calls_total",
        Kind.COUNTER,
        "Calls and streams that ended, by the status code that the caller was sent; CANCELLED: the caller went away"
        " first. Only series that have counted something are shown, and those of INTERNAL.",
        {"method": METHODS, "code": CODES},
        is_sparse=True,
    ),
    Metric(
        "parley_errors_total",
        Kind.COUNTER,
        "What clients were refused: calls, streams, frames, and single messages of frames and batches. Only series"
        " that have counted something are shown, and those of INTERNAL.",
        {"method": METHODS, "reason": REASONS},
        is_sparse=True,
    ),
    _counter(
        "parley_manual_deliveries_total",
        "Messages given to streams with manual acks; again: after an attempt that failed.",
        attempt=("first", "again"),
    ),
    _gauge(
        "parley_certificate_expiry_timestamp_seconds",
        "When the certificate in force expires, in Unix seconds; left out where there is no TLS.",
    ),
    Metric(
        "parley_dead_letters_total",
        Kind.SHARED,
        "Messages that became dead letters, since the schema was made, on all servers; read every 15 s.",
    ),
    _seconds(
        "parley_event_loop_lag_seconds", "How much later than asked the event loop came back, ten times a second."
    ),
)
BUILD_LABELS = ("version", "commit", "python")
# The supervisor's own; a process is serve, worker N, postgres or valkey.
_PROCESS: Mapping[str, tuple[str, ...]] = {"process": ()}
SUPERVISOR_METRICS = (
    Metric("parley_build_info", Kind.GAUGE, "1; what runs is in the labels.", dict.fromkeys(BUILD_LABELS, ())),
    _gauge("parley_workers_ready", "Workers that serve."),
    Metric("parley_process_ends_total", Kind.COUNTER, "Times that a process ended and was started again.", _PROCESS),
    Metric(
        "parley_process_planned_restarts_total",
        Kind.COUNTER,
        "Times that a worker was started anew as it asked for, after `parley restored` for instance; not among the"
        " ends.",
        _PROCESS,
    ),
    Metric(
        "parley_process_resident_memory_bytes", Kind.GAUGE, "Memory of the supervisor and of each worker.", _PROCESS
    ),
    Metric("parley_process_open_fds", Kind.GAUGE, "Files and connections that they have open.", _PROCESS),
    Metric("parley_process_max_fds", Kind.GAUGE, "How many they may have open.", _PROCESS),
    Metric(
        "parley_process_cpu_seconds_total",
        Kind.COUNTER,
        "Their processor time; a new process begins at zero.",
        _PROCESS,
    ),
)
