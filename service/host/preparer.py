"""The preparation of `parley serve` from the inside: reads the settings, makes the keys, brings the schema up to date.

A process of its own, which ends before the server serves: what these need in memory is more than all that the
supervisor needs for as long as it runs. It logs and ends as if it were the supervisor. What that one sees of it is in
`preparer_process.py`, with what each says to the other.
"""

import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from service import logs
from service.host.file_limit import to_needed_files
from service.host.plan import Plan
from service.host.tls_check import check_transport
from service.settings.handoff import to_plain
from service.settings.load import load
from service.settings.stop_times import find_stop_seconds


def prepare(flags: Mapping[str, object], config_file: Path | None) -> None:
    """Answers the supervisor, which is at the other end of standard input.

    Raises:
        ConfigError: the settings are wrong.
        StartError: the server can't start.
    """
    with socket.socket(fileno=sys.stdin.fileno()) as supervisor, supervisor.makefile("rwb") as stream:
        settings = load(flags, config_file=config_file).settings
        logs.configure(settings.log.level, settings.log.format, process="serve")
        check_transport(settings)
        plan = Plan(
            data_dir=str(settings.data_dir),
            listen=settings.listen,
            metrics_listen=settings.metrics.listen,
            workers=settings.workers,
            log_level=settings.log.level,
            log_format=settings.log.format,
            stop_seconds=find_stop_seconds(settings.shutdown, settings.listen),
            needed_files=to_needed_files(
                max_streams=settings.limits.max_streams,
                database_connections=settings.database.pool_size + settings.database.lanes,
            ),
            needs_postgres=settings.database.url is None,
            needs_valkey=settings.redis.url is None,
        )
        _say(stream, asdict(plan))
        # Only now: it takes long to load, and meanwhile the databases start.
        from service.host.banner import to_first_screen
        from service.host.preparation import bring_up_to_date, ensure_keys, resolve

        found = stream.readline()
        if not found:  # the supervisor has ended
            return
        ensure_keys(settings)
        settings = resolve(settings, **json.loads(found))
        bring_up_to_date(settings)
        _say(stream, {"settings": json.dumps(to_plain(settings)), "screen": to_first_screen(settings)})


def _say(stream: BufferedRWPair, what: Mapping[str, Any]) -> None:
    stream.write(json.dumps(what).encode() + b"\n")
    stream.flush()
