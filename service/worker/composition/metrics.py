"""Says where each of a worker's metrics comes from: the parts count for themselves, whether anybody looks or not."""

import math

from service.convert.fast_wire import encodings
from service.metrics.publisher import Sources
from service.rpc.chat.stream import FrameCounts
from service.rpc.telemetry import CallCounts
from service.worker.composition.auth import Auth
from service.worker.composition.delivery import Delivery
from service.worker.composition.stores import Stores
from service.worker.health import Health
from service.worker.server_certificate import ServerCertificate


def list_sources(
    stores: Stores,
    delivery: Delivery,
    auth: Auth,
    health: Health,
    calls: CallCounts,
    frames: FrameCounts,
    certificate: ServerCertificate | None,
) -> Sources:
    """Lists what gives each number of `catalogue.WORKER_METRICS` when it is asked."""
    hub, replayer, bus, writer, database = (
        delivery.hub,
        delivery.replayer,
        delivery.bus,
        delivery.writer,
        stores.database,
    )
    counts = writer.counts
    assert database.pool is not None
    pool = database.pool
    return {
        "parley_sends_total": lambda: {
            "accepted": counts.accepted_count,
            "deduplicated": counts.deduplicated_count,
        },
        "parley_sends_refused_total": lambda: counts.refused,
        "parley_batch_messages": lambda: counts.batch_messages,
        "parley_commit_seconds": lambda: counts.commit_seconds,
        "parley_lane_wait_seconds": lambda: counts.wait_seconds,
        "parley_lane_messages": lambda: writer.queued_count,
        "parley_lane_sidings": lambda: writer.blocked_lane_count,
        "parley_batch_failures_total": lambda: counts.failure_count,
        "parley_messages_encoded_total": lambda: encodings.count,
        "parley_delivery_seconds": lambda: hub.delivery_seconds,
        "parley_deliveries_total": lambda: frames.messages.total,
        "parley_frame_messages": lambda: frames.messages,
        "parley_frames_total": lambda: frames.frame_count,
        "parley_frame_bytes_total": lambda: frames.frame_bytes,
        "parley_streams": lambda: len(auth.streams),
        "parley_streams_opened_total": lambda: auth.streams.opened_count,
        "parley_channels": lambda: len(hub.channels),
        "parley_replays_running": lambda: replayer.running_count,
        "parley_replays_waiting": lambda: replayer.waiting_count,
        "parley_replay_steps_total": lambda: replayer.step_count,
        "parley_history_reads_total": lambda: replayer.history.read_count,
        "parley_gap_reads_total": lambda: hub.gap_read_count,
        "parley_gap_messages_total": lambda: hub.gap_entry_count,
        "parley_feed_sweeps_total": lambda: stores.feed.sweep_count,
        "parley_bus_published_total": lambda: bus.published_count,
        "parley_bus_dropped_total": lambda: bus.dropped_count,
        "parley_bus_received_total": lambda: bus.received_count,
        "parley_bus_foreign_total": lambda: bus.foreign_count,
        "parley_bus_waiting": lambda: bus.queued_count,
        "parley_bus_up": lambda: bus.is_alive,
        "parley_presence_up": lambda: delivery.presence.is_alive,
        "parley_bus_beats_total": lambda: bus.beat_count,
        "parley_bus_beat_lag_seconds": lambda: bus.beat_lag_seconds,
        "parley_database_statements_total": lambda: database.statement_count,
        "parley_database_up": lambda: health.component_states()["postgres"],
        "parley_pool_connections": lambda: pool.lent_count,
        "parley_pool_max_connections": lambda: pool.size,
        "parley_pool_waits_total": lambda: pool.wait_count,
        "parley_pool_wait_seconds_total": lambda: pool.waited_seconds,
        "parley_call_seconds": lambda: calls.seconds,
        "parley_calls_total": lambda: calls.by_method_and_code,
        "parley_errors_total": lambda: calls.errors.by_method_and_reason,
        "parley_manual_deliveries_total": lambda: delivery.manual.delivered_counts,
        "parley_certificate_expiry_timestamp_seconds": lambda: (
            math.nan if certificate is None else certificate.expire_time.timestamp()
        ),
        "parley_dead_letters_total": lambda: stores.dead_letters.made_count,
    }
