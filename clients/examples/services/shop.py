"""The shop: gives orders to the workshop through a conversation, and books the answers.

It may be stopped at any moment and started again: it gives all orders once more, which changes nothing, and hears what
it has not acknowledged. Arguments: host:port and the file of the book; SERVICE_TOKEN is in the environment.
"""

import contextlib
import os
import queue
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
from parley.v1 import chat_pb2, chat_service_pb2_grpc, message_pb2

SHOP, WORKSHOP = "shop", "workshop"
CONVERSATION = f"{SHOP}:{WORKSHOP}"  # the direct conversation of the two, made by the first send
PRICES = {"vase": 1250, "lamp": 4900, "clock": 8000}  # cents; the globe's was forgotten
ORDERS = {"1001": ("vase", 2), "1002": ("clock", 1), "1003": ("lamp", 3), "1004": ("globe", 1), "1005": ("vase", 5)}

_RETRY_POLICY = Path(__file__).parents[2] / "retry_policy.json"
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


class Parley:
    """The stub with the service's token; calls that meet a server which is away are made again."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self.stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        self.metadata = (("authorization", f"Bearer {token}"),)

    def send(self, request_id: str, text: str, **attributes: str) -> message_pb2.SendResponse:
        """Stores a message. The id is made from what the message is about, so it is stored once, whoever repeats it."""
        request = message_pb2.SendRequest(
            conversation_id=CONVERSATION, request_id=request_id, text=text, attributes=attributes
        )
        return self.stub.Send(request, metadata=self.metadata, timeout=20)

    def send_price(self, item: str, cents: int) -> None:
        """Says what an item costs, once and for all: another price of it would be REQUEST_ID_REUSED."""
        self.send(f"price-{item}", f"{item}: {cents} cents", kind="price", item=item, cents=str(cents))


@contextlib.contextmanager
def connect(target: str) -> Iterator[Parley]:
    """Gives the calls of this service. What they raise in the end becomes one line, and an exit status of 1."""
    options = [("grpc.service_config", _RETRY_POLICY.read_text()), ("grpc.max_reconnect_backoff_ms", 2000)]
    with grpc.insecure_channel(target, options) as channel:
        try:
            yield Parley(channel, os.environ.get("SERVICE_TOKEN", ""))
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")


def book_answer(book: sqlite3.Connection, answer: message_pb2.Message) -> None:
    """Books an answer before it is acknowledged. It can come again, and then there is nothing left to do."""
    row = (answer.attributes["order"], int(answer.attributes["total_cents"]))
    with book:
        is_new = book.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", row).rowcount
    print("order {} is answered: {} cents".format(*row) + ("" if is_new else ", as booked before"), flush=True)


def read_answers(parley: Parley, book: sqlite3.Connection) -> None:
    """Reads on from what this device acknowledged last, until every order is answered."""
    frames: queue.SimpleQueue[chat_pb2.ChatRequest | None] = queue.SimpleQueue()
    frames.put(chat_pb2.ChatRequest(hello=chat_pb2.Hello(device_id="answers")))
    for frame in parley.stub.Chat(iter(frames.get, None), metadata=parley.metadata):
        for refused in frame.errors:
            sys.exit(refused.error.message)
        messages = [message for message in frame.messages if message.conversation_id == CONVERSATION]
        for message in messages:
            if message.sender == WORKSHOP and message.attributes.get("kind") == "answer":
                book_answer(book, message)
        if messages:
            position = chat_pb2.Position(conversation_id=CONVERSATION, seq=messages[-1].seq)
            frames.put(chat_pb2.ChatRequest(ack=chat_pb2.AckFrame(positions=[position])))
        if is_done(book):
            frames.put(None)  # our half of the stream ends; the server takes the ack, and ends its own with OK


def is_done(book: sqlite3.Connection) -> bool:
    """Whether every order is answered."""
    return {number for (number,) in book.execute("SELECT number FROM answers")} >= ORDERS.keys()


def main(target: str, book_file: str) -> None:
    """Gives the orders, then reads answers; comes back after a pause when the stream breaks."""
    with contextlib.closing(sqlite3.connect(book_file)) as book, connect(target) as parley:
        book.execute("CREATE TABLE IF NOT EXISTS answers (number TEXT PRIMARY KEY, total_cents INTEGER NOT NULL)")
        for item, cents in PRICES.items():
            parley.send_price(item, cents)
        for number, (item, quantity) in ORDERS.items():
            attributes = {"kind": "order", "order": number, "item": item, "quantity": str(quantity)}
            sent = parley.send(f"order-{number}", f"{quantity} x {item}", **attributes)
            print(f"order {number}: {quantity} x {item}" + (", as given before" * sent.deduplicated), flush=True)
        while not is_done(book):
            try:
                read_answers(parley, book)
            except grpc.RpcError as error:
                if error.code() not in _PASSING:
                    raise
                print(f"the stream broke: {error.code().name}", flush=True)
                time.sleep(random.uniform(0, 2))  # noqa: S311 # spreads clients, hides nothing
        print("every order is answered", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
