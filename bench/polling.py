"""How grpc polls its sockets in the processes of the bench: in the thread of completions, as in Parley's workers."""

import os


def poll_with_completions() -> None:
    """Leaves out grpc's threads that only poll, which cost a client and a server a sixth; before grpc's first use.

    What the user has set stays.
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_poller_for_python")
