"""Puts messages into conversations before a run, by `BatchSend`, whose requests are stored in order."""

import itertools
import time
from collections.abc import Callable, Mapping

from grpc import aio
from parley.v1 import message_pb2

from bench.connections import Address, in_words, reason_of_status, stub_of, to_metadata
from bench.errors import BenchError
from bench.meter import now_us
from bench.texts import REQUEST_ID, Texts
from bench.users import User
from bench.verify import Acks, to_key

_BATCH = 500
_CALL_SECONDS = 60.0
_TELL_SECONDS = 5.0


class Told:
    """Reports the progress of a filling in words, now and then."""

    def __init__(self, tell: Callable[[str], None], count: int) -> None:
        self._tell = tell
        self._count = count
        self._done = 0
        self._next = time.monotonic() + _TELL_SECONDS

    def note(self, more: int) -> None:
        """So many more are there."""
        self._done += more
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_SECONDS
            self._tell(f"{self._done:,} of {self._count:,} messages are stored")


async def fill(
    address: Address,
    user: User,
    index: int,
    counts: Mapping[str, int],
    texts: Texts,
    note: Callable[[int], None] = lambda _: None,
) -> Mapping[str, Acks]:
    """Has a user send so many messages to each of its conversations; number n is the nth message of all.

    Args:
        index: of the sender, in the texts.
        note: called with how many more are there.

    Returns:
        What the server acknowledged, which is all of it.

    Raises:
        BenchError: something was refused.
    """
    conversations = itertools.chain.from_iterable(itertools.repeat(name, count) for name, count in counts.items())
    acks = {name: Acks() for name in counts}
    head, number = texts.head(index), 1
    async with address.open() as channel:
        stub, metadata = stub_of(channel), to_metadata(user.token)
        while batch := list(itertools.islice(conversations, _BATCH)):
            said = texts.make(head, range(number, number + len(batch)), now_us())
            request = message_pb2.BatchSendRequest(
                requests=[
                    message_pb2.SendRequest(conversation_id=name, text=text, request_id=text[REQUEST_ID])
                    for name, text in zip(batch, said, strict=True)
                ]
            )
            try:
                answer = await stub.BatchSend(request, metadata=metadata, timeout=_CALL_SECONDS)
            except aio.AioRpcError as error:
                raise BenchError(f"the history could not be written: {in_words(error)}") from error
            for name, result in zip(batch, answer.results, strict=True):
                if not result.accepted.seq:
                    raise BenchError(f"the history could not be written: {reason_of_status(result.error)}")
                acks[name].seqs.append(result.accepted.seq)
                acks[name].keys.append(to_key(index, number))
                number += 1
            note(len(batch))
    return acks
