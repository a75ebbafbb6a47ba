"""How `parley serve` starts processes of its own. Loads little: the supervisor has it."""

import sys

# -P: a folder named "service" where the operator stands must not be taken for ours.
PROGRAM: tuple[str, ...] = (sys.executable, "-P", "-m", "service")


def to_command(role: str, *arguments: object) -> list[str]:
    """Returns the command of a process; its role is the first argument, which `service/__main__.py` looks at."""
    return [*PROGRAM, role, *(str(argument) for argument in arguments)]
