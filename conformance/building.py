"""Programs of the clients: built, and run to their end."""

import asyncio
from collections.abc import Mapping, Sequence

from conformance.languages import Language

_BUILD_SECONDS = 1800.0


async def run_program(
    command: Sequence[str], language: Language, environment: Mapping[str, str], limit_seconds: float
) -> str:
    """Runs a program of a client to its end; gives why it failed, or nothing."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=language.folder,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), limit_seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{' '.join(command)} did not end within {limit_seconds:.0f} s"
    if process.returncode:
        return f"{' '.join(command)} ended with {process.returncode}:\n{output.decode(errors='replace')[-4000:]}"
    return ""


async def build(language: Language) -> str:
    """Builds a runner; gives why it can't be built."""
    for command in language.build:
        if reason := await run_program(command, language, language.full_environment(), _BUILD_SECONDS):
            return reason
    return ""
