"""Counts the answers in the log: ends with 0 when each order has exactly one and no dead letter is left, else with 1.

Arguments: host:port. SERVICE_TOKEN, in the environment, speaks for the shop and has the scope "dead_letters".
"""

import collections
import sys
from collections.abc import Iterator

from mend import list_dead_letters
from parley.v1 import message_pb2
from shop import CONVERSATION, ORDERS, Parley, connect


def iter_log(parley: Parley) -> Iterator[message_pb2.Message]:
    """All entries of the conversation."""
    request = message_pb2.PullRequest(conversation_id=CONVERSATION, limit=500)
    while True:
        page = parley.stub.Pull(request, metadata=parley.metadata, timeout=20)
        yield from page.messages
        if not page.has_more:
            return
        request.cursor = page.next_cursor


def main(target: str) -> None:
    """Counts, and says what it found."""
    with connect(target) as parley:
        answers = collections.Counter(
            entry.attributes["order"] for entry in iter_log(parley) if entry.attributes.get("kind") == "answer"
        )
        letters = list_dead_letters(parley)
    counts = ", ".join(f"{number}: {answers[number]}" for number in sorted(answers.keys() | ORDERS.keys()))
    print(f"answers in the log: {counts}; dead letters: {len(letters)}", flush=True)
    if answers != dict.fromkeys(ORDERS, 1) or letters:
        sys.exit("not every order was answered exactly once")


if __name__ == "__main__":
    main(*sys.argv[1:])
