"""`python -m service`, whose workers have failpoints: `python -m tests.faults.armed_service no_sweep,no_dedupe serve`.

The supervisor starts its workers by this program, too. A worker's delivery engine is built as always, and changed
before anything runs.
"""

import os
import sys
from collections.abc import Iterable

from tests.support.servers import SERVE


def serve_command(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the command that starts a server with these failpoints; without any, the product's own."""
    joined = ",".join(names)
    return (*_command(joined), "serve") if joined else SERVE


def main() -> None:
    """Runs the command line behind the failpoints' names."""
    names = sys.argv.pop(1)
    from service.host import roles

    roles.PROGRAM = _command(names)
    if sys.argv[1:2] == ["worker"]:
        from service.worker.main import GRPC_EXPERIMENTS

        os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)  # grpc is loaded earlier than in the product
        _change_delivery(names.split(","))
    from service.__main__ import main as run

    run()


def _command(names: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.faults.armed_service", names)


def _change_delivery(names: list[str]) -> None:
    from service.settings.tree import Settings
    from service.worker import server
    from service.worker.composition.delivery import Delivery, build_delivery
    from service.worker.composition.stores import Stores
    from tests.faults.failpoints import Parts, arm, put

    def build(settings: Settings, stores: Stores, *, worker_id: str) -> Delivery:
        delivery = build_delivery(settings, stores, worker_id=worker_id)
        parts = Parts(
            database=stores.database,
            feed=stores.feed,
            reconnections=delivery.reconnections,
            hub=delivery.hub,
            subscriptions=delivery.subscriptions,
            fanout=delivery.fanout,
            writer=delivery.writer,
            acks=delivery.acks,
            deliveries=stores.deliveries,
        )
        arm(parts, names)
        return delivery

    put(server, "build_delivery", build)


if __name__ == "__main__":
    main()
