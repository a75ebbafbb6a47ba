"""The lists of steps around calls and frames: what order they may have, and that each kind of method has its own."""

from collections.abc import Callable
from typing import Any

import pytest
from parley.v1 import chat_pb2, message_pb2, server_info_pb2

from service.rpc.authentication import Authenticator
from service.rpc.chain import OutOfPlace, Step, compose
from service.rpc.chat.frame_steps import STEPS_OF_THE_CALL, frame_steps
from service.rpc.in_flight import InFlight
from service.rpc.method_kinds import Stream, Unary
from service.rpc.pipeline import Around, stream_steps, unary_steps
from service.rpc.telemetry import CallCounts


async def unused(*_: Any) -> Any:
    """A handler that is never called."""


AUTHENTICATOR = Authenticator(None, None)  # type: ignore[arg-type] # never asked
AROUND = Around(lambda front: front, AUTHENTICATOR, InFlight(), CallCounts(["Send"]))
SEND = unary_steps("Send", Unary(message_pb2.SendRequest, unused), AROUND)
CHAT = stream_steps("Chat", Stream(None, unused), AROUND)
SUBSCRIBE = stream_steps("Subscribe", Stream(chat_pb2.SubscribeRequest, unused), AROUND)
LISTS = {
    "Send": (SEND, ()),
    "Chat": (CHAT, ()),
    "Subscribe": (SUBSCRIBE, ()),
    "frames": (frame_steps(), STEPS_OF_THE_CALL),
}


def names_of(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


def test_lists_are_what_they_were_last_decided_to_be():
    assert names_of(SEND) == ["answer", "name", "authenticate", "limit", "decode", "handle", "encode"]
    assert names_of(CHAT) == ["answer", "name", "authenticate", "stream"]
    assert names_of(SUBSCRIBE) == ["answer", "name", "authenticate", "decode", "stream"]
    assert names_of(frame_steps()) == ["login", "refuse", "decode frame", "handle frame"]
    assert [*STEPS_OF_THE_CALL] == names_of(CHAT)[:-1]
    public = unary_steps(
        "GetServerInfo", Unary(server_info_pb2.GetServerInfoRequest, unused, needs_token=False), AROUND
    )
    assert names_of(public) == names_of(SEND), "what needs no token says so in the place of who looks at it"


@pytest.mark.parametrize("name", LISTS)
def test_no_step_can_be_left_out_or_come_after_one_that_needs_it(name: str):
    steps, done = LISTS[name]
    compose(steps, done=done)
    for step in steps[:-1]:
        others = [other for other in steps if other is not step]
        for wrong in (others, [*others, step]):
            with pytest.raises(OutOfPlace, match=f"must come after `{step.name}`"):
                compose(wrong, done=done)


def test_step_that_is_there_twice_is_refused():
    with pytest.raises(OutOfPlace, match="`name` is there twice"):
        compose([*SEND[:2], *SEND[1:]])
    with pytest.raises(OutOfPlace, match="`login` is there twice"):
        compose(frame_steps(), done=[*STEPS_OF_THE_CALL, "login"])


def test_frames_need_a_call_that_was_authenticated():
    with pytest.raises(OutOfPlace, match="`login` must come after `authenticate`"):
        compose(frame_steps())


def test_steps_run_in_the_order_of_the_list_and_each_takes_what_the_one_before_hands_on():
    def add(name: str) -> Callable[[Any], Any]:
        return lambda rest: lambda so_far: rest([*so_far, name])

    run = compose([Step("a", (), add("a")), Step("b", ("a",), add("b")), Step("c", ("a",), lambda _: "".join)])
    assert run(["0"]) == "0ab"
