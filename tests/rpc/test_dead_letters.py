"""ListDeadLetters, RedriveDeadLetters and DeleteDeadLetters: one's own, and with the operator's scope all."""

import dataclasses
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from parley.v1 import conversation_pb2, dead_letter_pb2, error_pb2

from tests.support.manual import (
    ack,
    attempts,
    dead_letters,
    fed,
    half_close,
    manual,
    nack,
    until_dead,
)
from tests.support.people import Person, Stream, refusal, registered
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for


async def redrive(person: Person, *ids: str, all_users: bool = False) -> list[str]:
    request = dead_letter_pb2.RedriveDeadLettersRequest(dead_letter_ids=ids, all_users=all_users)
    return list((await person.call("RedriveDeadLetters", request)).dead_letter_ids)


async def delete(person: Person, *ids: str, all_users: bool = False) -> list[str]:
    request = dead_letter_pb2.DeleteDeadLettersRequest(dead_letter_ids=ids, all_users=all_users)
    return list((await person.call("DeleteDeadLetters", request)).dead_letter_ids)


async def bury(stream: Stream, group: str, *seqs: int) -> None:
    """Nacks these until they are dead letters."""
    for attempt in (1, 2, 3):
        for seq in seqs:
            await stream.until(lambda s=seq, a=attempt: (s, a) in attempts(stream, group), f"{seq}, {attempt}")
        await nack(stream, group, *seqs, reason=f"bad input {attempt}", retry_delay=Duration())


@asynccontextmanager
async def with_dead_letters(
    server: RunningServer, count: int = 1
) -> AsyncIterator[tuple[Person, Person, str, Stream, list[dead_letter_pb2.DeadLetter]]]:
    """A sender, a user with dead letters, their conversation, and the user's open stream."""
    async with fed(server, count) as (alice, bob, group, stream):
        await bury(stream, group, *range(1, count + 1))
        yield alice, bob, group, stream, await until_dead(bob, count)


def operator(server: RunningServer, person: Person) -> Person:
    """The same user with a token that the operator minted."""
    command = [sys.executable, "-m", "service", "token", "--scope", "dead_letters", "--data-dir", str(server.data_dir)]
    token = subprocess.run([*command, person.name], check=True, capture_output=True, text=True).stdout.strip()
    return dataclasses.replace(person, token=token)


async def test_letter_has_the_message_its_attempts_and_times(quick: RunningServer) -> None:
    async with with_dead_letters(quick) as (alice, bob, group, _, (letter,)):
        sent = (await alice.pull(group)).messages[0]
        assert letter.message == sent
        assert (letter.username, letter.device_id) == (bob.name, "phone")
        assert (letter.attempts, letter.last_reason) == (3, "bad input 3")
        assert letter.error_reason == error_pb2.ERROR_REASON_RETRY_EXHAUSTED
        times = [sent.create_time, letter.first_attempt_time, letter.last_attempt_time, letter.create_time]
        moments = [time.ToDatetime() for time in times]
        assert moments == sorted(moments)
        assert len(set(moments)) == 4


async def test_redriven_letter_is_delivered_again_and_can_die_again(quick: RunningServer) -> None:
    async with with_dead_letters(quick) as (_, bob, group, stream, (letter,)):
        del stream.messages[:]
        assert await redrive(bob, letter.dead_letter_id) == [letter.dead_letter_id]
        assert await dead_letters(bob) == []
        await bury(stream, group, 1)
        (again,) = await until_dead(bob)
        assert again.dead_letter_id != letter.dead_letter_id
        assert again.attempts == 3
        del stream.messages[:]
        assert await redrive(bob, letter.dead_letter_id, again.dead_letter_id) == [again.dead_letter_id]
        await stream.until(lambda: attempts(stream, group) == [(1, 1)], "it")
        await ack(stream, group, 1)
        await half_close(stream)
        assert not stream.errors
        assert await dead_letters(bob) == []


async def test_redriven_letter_waits_for_a_stream_when_there_is_none(quick: RunningServer) -> None:
    async with with_dead_letters(quick) as (_, bob, group, stream, (letter,)):
        await half_close(stream)
        assert await redrive(bob, letter.dead_letter_id) == [letter.dead_letter_id]
        async with bob.chat(**manual()) as later:
            await later.until(lambda: attempts(later, group) == [(1, 1)], "it")


async def test_letter_of_a_device_that_acknowledges_cumulatively_by_now_is_not_redriven(quick: RunningServer) -> None:
    async with with_dead_letters(quick) as (_, bob, _, stream, (letter,)):
        await half_close(stream)
        async with bob.chat():
            assert await redrive(bob, letter.dead_letter_id) == []
            assert await dead_letters(bob) == [letter]


async def test_deleted_letter_is_gone_and_its_message_stays(quick: RunningServer) -> None:
    async with with_dead_letters(quick) as (alice, bob, group, _, (letter,)):
        assert await delete(bob, letter.dead_letter_id) == [letter.dead_letter_id]
        assert await delete(bob, letter.dead_letter_id) == []
        assert await redrive(bob, letter.dead_letter_id) == []
        assert await dead_letters(bob) == []
        assert [message.seq for message in (await alice.pull(group)).messages] == [1]


async def test_letters_of_others_are_not_there(quick: RunningServer) -> None:
    async with with_dead_letters(quick) as (alice, bob, _, _, (letter,)):
        assert await dead_letters(alice) == []
        assert await redrive(alice, letter.dead_letter_id) == []
        assert await delete(alice, letter.dead_letter_id) == []
        assert await dead_letters(bob) == [letter]
        for call in (dead_letters(alice, all_users=True), redrive(alice, "1", all_users=True)):
            async with refusal("SCOPE_MISSING", grpc.StatusCode.PERMISSION_DENIED):
                await call
        async with refusal("SCOPE_MISSING"):
            await delete(alice, letter.dead_letter_id, all_users=True)


async def test_operator_sees_and_handles_those_of_all(quick: RunningServer) -> None:
    async with with_dead_letters(quick, 2) as (alice, bob, group, stream, (first, second)):
        root = operator(quick, alice)
        assert await dead_letters(root) == []
        assert await dead_letters(root, all_users=True, conversation_id=group) == [first, second]
        del stream.messages[:]
        assert await redrive(root, first.dead_letter_id) == []
        assert await redrive(root, first.dead_letter_id, all_users=True) == [first.dead_letter_id]
        await stream.until(lambda: attempts(stream, group) == [(1, 1)], "it")
        assert await delete(root, second.dead_letter_id, all_users=True) == [second.dead_letter_id]
        assert await dead_letters(bob) == []


def test_a_scope_that_there_is_not_is_refused(quick: RunningServer) -> None:
    command = [sys.executable, "-m", "service", "token", "--scope", "all", "--data-dir", str(quick.data_dir), "alice"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "--scope takes dead_letters, not all" in done.stderr


async def test_list_has_pages_and_filters(quick: RunningServer) -> None:
    async with with_dead_letters(quick, 5) as (alice, bob, group, _, letters):
        other = await alice.make_group(bob)
        await alice.send(other, "one")
        async with bob.chat(device_id="tablet", **manual()) as tablet:
            await bury(tablet, other, 1)
            (late,) = await until_dead(bob, conversation_id=other)
        seen = []
        token = ""
        while True:
            request = dead_letter_pb2.ListDeadLettersRequest(page_size=2, page_token=token)
            page = await bob.call("ListDeadLetters", request)
            seen.append(list(page.dead_letters))
            if not (token := page.next_page_token):
                break
        assert [len(page) for page in seen] == [2, 2, 2]
        assert [letter for page in seen for letter in page] == [*letters, late]
        assert await dead_letters(bob, conversation_id=group) == letters
        assert await dead_letters(bob, device_id="tablet") == [late]
        assert await dead_letters(bob, device_id="none") == []


async def test_letters_vanish_with_their_conversation(quick: RunningServer) -> None:
    async with with_dead_letters(quick) as (alice, bob, group, _, (letter,)):
        await alice.call("DeleteConversation", conversation_pb2.DeleteConversationRequest(conversation_id=group))
        assert await dead_letters(bob) == []
        assert await redrive(bob, letter.dead_letter_id) == []


async def test_letters_of_a_former_member_stay_as_far_as_the_log_may_be_seen(quick: RunningServer) -> None:
    async with with_dead_letters(quick) as (alice, bob, group, stream, (letter,)):
        await alice.call(
            "RemoveMembers", conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
        )
        assert await dead_letters(bob) == [letter]
        del stream.messages[:]
        assert await redrive(bob, letter.dead_letter_id) == [letter.dead_letter_id]
        await wait_for(lambda: (1, 1) in attempts(stream, group), what="it")


@pytest.mark.parametrize("ids", [[], ["1"] * 1001, ["-1"], ["x"], [""], ["9" * 19], ["9" * 30], ["1²"]])
async def test_bad_ids_are_refused(quick: RunningServer, ids: list[str]) -> None:
    async with registered(quick.target) as bob:
        async with refusal("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT):
            await redrive(bob, *ids)
        async with refusal("INVALID_REQUEST"):
            await delete(bob, *ids)


@pytest.mark.parametrize(
    "fields", [{"page_size": -1}, {"page_token": "x"}, {"conversation_id": "a:b:c"}, {"device_id": "a\tb"}]
)
async def test_bad_lists_are_refused(quick: RunningServer, fields: dict[str, object]) -> None:
    async with registered(quick.target) as bob:
        async with refusal("INVALID_REQUEST"):
            await dead_letters(bob, **fields)
