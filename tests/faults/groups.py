"""Consumer groups in a run: who they are, and what becomes of their dead letters in the end."""

import asyncio
import random
from collections import Counter

from parley.v1 import dead_letter_pb2

from service.settings.tree import Settings
from tests.faults.consumers import DEADLINE_SECONDS, Consumer
from tests.faults.final_log import read_unsettled
from tests.faults.history import Letter, Terms
from tests.faults.stage import Stage
from tests.support.people import Person
from tests.support.waiting import wait_for

_MAX_ATTEMPTS = Settings().retry.max_attempts


async def open_groups(stage: Stage) -> None:
    """Connects three groups of a user: four streams that share the work, two that keep the order, and one alone."""
    person = stage.people[-1]
    for device_id, count, is_ordered in (("shared", 4, False), ("ordered", 2, True), ("alone", 1, False)):
        group = f"{person.name}/{device_id}"
        stage.groups[group] = Terms(person.name, is_ordered, DEADLINE_SECONDS, _MAX_ATTEMPTS)
        for _ in range(count):
            consumer = Consumer(
                stage.history,
                person.name,
                person.token,
                device_id,
                find_target=stage.find_target,
                now=stage.now,
                rng=random.Random(stage.rng.random()),
                is_ordered=is_ordered,
            )
            stage.consumers.append(consumer)
            consumer.start()
    await wait_for(lambda: all(consumer.is_open for consumer in stage.consumers), limit_seconds=40, what="consumers")


async def end_groups(stage: Stage, *, settle_seconds: float) -> None:
    """Redrives what is dead, to consumers that are healed, and closes; what is left is noted for the checker."""
    history, person = stage.history, stage.people[-1]
    history.letters = await _list_letters(person)
    for consumer in stage.consumers:
        consumer.is_healed = True
    history.redrive_time = stage.now()
    await _redrive_all(person)
    await stage.settle(settle_seconds)
    await asyncio.gather(*(consumer.finish() for consumer in stage.consumers))
    history.letters_left = await _list_letters(person)
    history.unsettled = await read_unsettled(stage.database_url, list(stage.groups))
    handed = {(handing.group, handing.conversation_id, handing.seq) for handing in history.handings}
    stage.notes["handed"] = f"{len(handed)}, again {len(history.handings) - len(handed)}"
    stage.notes["dead"] = str(len(history.letters))
    refused = Counter(reason for consumer in stage.consumers for reason in consumer.errors)
    stage.notes |= {f"refused {reason}": str(count) for reason, count in sorted(refused.items())}


async def _list_letters(person: Person) -> list[Letter]:
    return [
        Letter(
            f"{letter.username}/{letter.device_id}",
            letter.message.conversation_id,
            letter.message.seq,
            letter.message.sender,
            letter.message.request_id,
            letter.message.text,
            letter.attempts,
            letter.last_reason,
        )
        for letter in await _read_letters(person)
    ]


async def _read_letters(person: Person) -> list[dead_letter_pb2.DeadLetter]:
    letters: list[dead_letter_pb2.DeadLetter] = []
    page_token, has_more = "", True
    while has_more:
        request = dead_letter_pb2.ListDeadLettersRequest(page_size=100, page_token=page_token)
        page = await person.call("ListDeadLetters", request)
        letters += page.dead_letters
        page_token, has_more = page.next_page_token, bool(page.next_page_token)
    return letters


async def _redrive_all(person: Person) -> None:
    ids = [letter.dead_letter_id for letter in await _read_letters(person)]
    for first in range(0, len(ids), 1000):
        request = dead_letter_pb2.RedriveDeadLettersRequest(dead_letter_ids=ids[first : first + 1000])
        await person.call("RedriveDeadLetters", request)
