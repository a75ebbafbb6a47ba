"""The example of a client: runs it, and looks in the database for what it must have done."""

import asyncpg

from conformance.building import run_program
from conformance.languages import Language
from conformance.stage import Stage

_LIMIT_SECONDS = 60.0
# Each sends three notes to itself, repeats what has no answer, and acknowledges all of them.
_NOTE_COUNT = 3


async def run_example(stage: Stage, language: Language, target: str) -> str:
    """Runs it against the server behind a target; gives why it failed, or nothing."""
    if reason := await run_program(
        [*language.example, target], language, language.playing_environment(), _LIMIT_SECONDS
    ):
        return reason
    user = language.example_user
    connection = await asyncpg.connect(stage.backends.postgres.url)
    try:
        found = await connection.fetchrow(
            "SELECT c.last_seq, (SELECT max(k.acked_seq) FROM conformance.cursors k"
            " WHERE k.username = $1 AND k.conversation_id = c.conversation_id)"
            " FROM conformance.conversations c WHERE c.conversation_id = $1 || ':' || $1",
            user,
        )
    finally:
        await connection.close()
    stored, acked = found or (0, 0)
    if (stored, acked) != (_NOTE_COUNT, _NOTE_COUNT):
        return f"{user} has {stored} notes and acknowledged up to {acked}, and both should be {_NOTE_COUNT}"
    return ""
