"""Which processes serve, and how each of them is started: at first, and again after its end."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

from service.host.plan import Plan
from service.host.reloading import HandedSettings
from service.host.restart_policy import RestartPolicy
from service.host.roles import SERVING, Role
from service.host.serving_process import ServingProcess


def list_processes(
    first: ServingProcess, plan: Plan, stack: ExitStack, *, roles: Sequence[Role] = SERVING
) -> list[ServingProcess]:
    """Lists all processes that are to serve; those that still run are killed when the stack ends.

    Args:
        first: one of them, which is spawned already.
        roles: those that serve, in the order of their start.
    """
    processes = []
    for role in roles:
        for index in range(0 if role.count is None else role.count(plan)):
            is_first = (role, index) == (first.role, first.index)
            processes.append(first if is_first else ServingProcess(role, index))
            stack.callback(processes[-1].discard)
    return processes


def start_processes(processes: Sequence[ServingProcess], settings: HandedSettings) -> list[RestartPolicy]:
    """Starts the processes, and hands each the settings; returns what starts them again when they have ended."""
    policies = []
    for process in processes:

        def start(process: ServingProcess = process) -> None:
            process.spawn()
            process.hand(settings.text.encode())

        if process.is_spawned:
            process.hand(settings.text.encode())
        else:
            start()
        policies.append(RestartPolicy(process.name, find_end=process.find_end, start=start, now=time.monotonic()))
    return policies
