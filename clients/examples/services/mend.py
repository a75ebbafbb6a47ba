"""The operator's way out: shows the orders that the workshop gave up, says what was lacking, has them done again.

Arguments: host:port and item=cents for each price that was forgotten. SERVICE_TOKEN, in the environment, speaks for
the shop and has the scope "dead_letters", since the dead letters are those of the workshop's device.
"""

import sys
import time

from parley.v1 import dead_letter_pb2
from shop import CONVERSATION, Parley, connect

_WAIT_SECONDS = 60.0


def list_dead_letters(parley: Parley) -> list[dead_letter_pb2.DeadLetter]:
    """The oldest of this conversation, whosesoever they are."""
    request = dead_letter_pb2.ListDeadLettersRequest(conversation_id=CONVERSATION, all_users=True)
    return list(parley.stub.ListDeadLetters(request, metadata=parley.metadata, timeout=20).dead_letters)


def main(target: str, *prices: str) -> None:
    """Waits for a dead letter, mends, and redrives."""
    deadline = time.monotonic() + _WAIT_SECONDS
    with connect(target) as parley:
        while not (letters := list_dead_letters(parley)):
            if time.monotonic() > deadline:
                sys.exit("there is no dead letter")
            time.sleep(0.2)
        for letter in letters:
            order = letter.message.attributes["order"]
            print(f"order {order} is a dead letter after {letter.attempts} attempts: {letter.last_reason}", flush=True)
        for price in prices:
            item, _, cents = price.partition("=")
            parley.send_price(item, int(cents))
            print(f"the price of {item} is {cents} cents", flush=True)
        request = dead_letter_pb2.RedriveDeadLettersRequest(
            dead_letter_ids=[letter.dead_letter_id for letter in letters], all_users=True
        )
        redriven = parley.stub.RedriveDeadLetters(request, metadata=parley.metadata, timeout=20).dead_letter_ids
        print(f"{len(redriven)} redriven", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
