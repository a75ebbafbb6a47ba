"""Makes users and tokens with the `parley` command, against the same data directory as the server's."""

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

TOKEN_SECONDS = 86_400
"""The longest that the server gives."""


class CommandFailed(Exception):
    """A `parley` command ended with an error; the text is what it printed."""


def parley_command() -> Path:
    """Returns the command that is installed beside this Python."""
    return Path(sys.executable).with_name("parley")


async def create_users(usernames: Iterable[str], environment: Mapping[str, str]) -> None:
    """Makes those users that there are not.

    Raises:
        CommandFailed: the command refused.
    """
    await _run(("user", "create", "--stdin", "--exist-ok"), usernames, environment)


async def mint_tokens(usernames: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Returns an access token for each user.

    Raises:
        CommandFailed: the command refused, or left one out.
    """
    names = list(usernames)
    output = await _run(("token", "--stdin", "--ttl", str(TOKEN_SECONDS)), names, environment)
    tokens = dict(line.split() for line in output.splitlines() if line.strip())
    if missing := set(names) - set(tokens):
        raise CommandFailed(f"no token for {len(missing)} users, such as {min(missing)}")
    return tokens


async def _run(arguments: tuple[str, ...], lines: Iterable[str], environment: Mapping[str, str]) -> str:
    """Returns what the command printed, having read `lines`."""
    process = await asyncio.create_subprocess_exec(
        parley_command(),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    output, errors = await process.communicate("".join(f"{line}\n" for line in lines).encode())
    if process.returncode != 0:
        raise CommandFailed(f"parley {' '.join(arguments)}: {errors.decode(errors='replace').strip()[-2000:]}")
    return output.decode()
