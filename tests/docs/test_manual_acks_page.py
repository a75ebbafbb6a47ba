"""The worker that docs/manual-acks.md shows does what the page says."""

import contextlib
from collections.abc import Callable
from typing import Any

import grpc
from parley.v1 import chat_service_pb2_grpc, conversation_pb2, message_pb2

from tests.docs.pages import ROOT, list_blocks
from tests.support.callers import register
from tests.support.servers import RunningServer


class Enough(Exception):
    """Ends the worker."""


def test_worker_of_the_page_acks_what_is_handled_and_nacks_what_fails(server: RunningServer) -> None:
    (code,) = [content for language, content in list_blocks(ROOT / "docs/manual-acks.md") if language == "python"]
    names: dict[str, Callable[..., Any]] = {}
    exec(code, names)
    with grpc.insecure_channel(server.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        alice, bob = register(stub), register(stub)
        request = conversation_pb2.CreateConversationRequest(members=[bob.name])
        group = alice.call("CreateConversation", request).conversation.conversation_id
        for text in ("good", "bad", "good too"):
            alice.call("Send", message_pb2.SendRequest(conversation_id=group, text=text))
        seen: list[tuple[str, int]] = []

        def handle(message: message_pb2.Message) -> None:
            seen.append((message.text, message.delivery_attempt))
            if seen[-1] == ("bad", 1):
                raise ValueError("can't do that yet")
            if message.text == "bad":
                raise Enough

        with contextlib.suppress(Enough):
            names["work"](stub, [("authorization", f"Bearer {bob.token}")], "worker", handle)
        assert seen == [("good", 1), ("bad", 1), ("good too", 1), ("bad", 2)]
