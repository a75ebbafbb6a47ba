"""Lua scripts, and how several calls of them go over one connection in one round trip."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.asyncio import Connection
from redis.exceptions import NoScriptError, ResponseError


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server knows it.

    Attributes:
        digest: its SHA-1, by which it is called.
    """

    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a script; all keys are of one hash slot.

    Attributes:
        family: the scripts that are loaded together, when the server has lost them.
    """

    script: Script
    family: Sequence[Script]
    keys: Sequence[str]
    args: Sequence[str | int]


def read_scripts(*names: str, shared: str = "") -> tuple[Script, ...]:
    """Reads scripts of the folder `scripts/`; what is shared comes before each of them."""
    folder = resources.files("storage.redis") / "scripts"
    before = (folder / f"{shared}.lua").read_text() if shared else ""
    texts = [before + (folder / f"{name}.lua").read_text() for name in names]
    return tuple(Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()) for text in texts)


async def exchange(connection: Connection, calls: Sequence[Call], *, is_asking: bool = False) -> list[Any]:
    """Makes calls in order; gives an answer for each, which is a ResponseError where the server refused it.

    Scripts are loaded where the server does not know them; then all calls are made again, since none of them was made.

    Args:
        is_asking: the server has the slot only for who asks, in the middle of its move.

    Raises:
        RedisError, OSError: the connection is lost; some calls may have been made.
        NoScriptError: some calls were made and some not.
    """
    answers = await _send(connection, calls, is_asking=is_asking)
    unknown_count = sum(isinstance(answer, NoScriptError) for answer in answers)
    if not unknown_count:
        return answers
    if unknown_count < len(answers):
        raise NoScriptError("the scripts were lost in between")
    for script in calls[0].family:
        await connection.send_command("SCRIPT", "LOAD", script.text, check_health=False)
        await connection.read_response()
    return await _send(connection, calls, is_asking=is_asking)


async def _send(connection: Connection, calls: Sequence[Call], *, is_asking: bool) -> list[Any]:
    commands: list[tuple[str | int, ...]] = []
    for call in calls:
        if is_asking:
            commands.append(("ASKING",))
        commands.append(("EVALSHA", call.script.digest, len(call.keys), *call.keys, *call.args))
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    answers: list[Any] = []
    for command in commands:
        try:
            answer = await connection.read_response()
        except ResponseError as error:
            answer = error
        if command[0] != "ASKING":
            answers.append(answer)
    return answers
