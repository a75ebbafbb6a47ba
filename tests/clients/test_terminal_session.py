"""The client's rules of docs/clients.md, as the terminal chat has them, against a server that does its worst."""

import itertools
import random
from collections import Counter, deque

import grpc
import pytest
from google.protobuf import duration_pb2
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from parley.v1 import chat_pb2, message_pb2
from terminal_chat.endings import LAST_PAUSE_SECONDS, Pauses, Step, judge, wait_seconds_after
from terminal_chat.errors import Refusal
from terminal_chat.session import ACK_SECONDS, MAX_HELLO_POSITIONS, HelloRefused, Session, State

from tests.clients.model_server import ModelServer, ModelStream, refusal

ROOMS = ("a:b", "group")
FATES = ("stored", "stored", "overloaded", "unknown", "late", "refused")


class World:
    """A person at a screen says things and sees what comes; wires break, the server refuses, forgets and goes away."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = ModelServer(*ROOMS)
        self.session = Session("phone", draw=self.random.random)
        self.now = 100.0
        self.ids = itertools.count(1)
        self.said: dict[str, list[str]] = {name: [] for name in ROOMS}
        self.refused: set[str] = set()
        self.gone: set[str] = set()
        self.inbox: deque[message_pb2.Message] = deque()
        self.screen: dict[str, list[str]] = {name: [] for name in ROOMS}
        self.known: set[str] = set()

    # The person.

    def says(self) -> None:
        name, request_id = self.random.choice(ROOMS), f"mine {next(self.ids)}"
        self.said[name].append(request_id)
        self.session.send(message_pb2.SendRequest(conversation_id=name, text=request_id, request_id=request_id))

    def sees(self) -> None:
        if self.inbox:
            message = self.inbox.popleft()
            self.screen[message.conversation_id].append(message.text)
            assert len(self.screen[message.conversation_id]) == message.seq, "nothing twice, nothing left out, in order"
            self.session.note_dealt(message)

    # The wire.

    def connects(self) -> None:
        if self.server.stream is None:
            self.server.stream = ModelStream()
            self.server.stream.to_server.append(self.session.open())

    def writes(self) -> None:
        if self.server.stream is not None:
            self.server.stream.to_server.extend(self.session.take_frames(self.now))

    def reads(self) -> None:
        if self.server.stream is None or not self.server.stream.to_client:
            return
        arrived = self.session.receive(self.server.stream.to_client.popleft(), self.now)
        for reset in arrived.resets:
            kept = [m for m in self.inbox if m.conversation_id != reset.conversation_id or m.seq <= reset.seq]
            self.inbox = deque(kept)
            del self.screen[reset.conversation_id][reset.seq :]
        self.inbox.extend(arrived.messages)
        self.known |= {part.conversation_id for part in (*arrived.frame.messages, *arrived.frame.caught_up)}
        self.refused |= {request.request_id for request, _ in arrived.refused}
        assert not arrived.errors

    def time_passes(self) -> None:
        self.now += self.random.choice([0.01, 0.3, 2.0, 40.0])

    # The server.

    def others_write(self) -> None:
        self.server.logs[self.random.choice(ROOMS)].append(f"theirs {next(self.ids)}")

    def server_reads(self, fates: tuple[str, ...] = FATES) -> None:
        if self.server.stream is None:
            return
        frame = self.server.take(self.random.choice(fates))
        if frame is not None and frame.HasField("ack"):
            for position in frame.ack.positions:
                name, seq = position.conversation_id, position.seq
                assert self.server.logs[name][:seq] == self.screen[name][:seq], "acknowledged is what was seen"

    def server_delivers(self) -> None:
        self.server.deliver(self.random.choice(ROOMS), self.random.randint(1, 4))

    def given_up_attempt_takes_effect(self) -> None:
        if self.server.late:
            self.server.store_late()

    def same_device_acknowledges_elsewhere(self) -> None:
        """Another program with this device id; what it had before this one first heard of a room is its own affair."""
        name = self.random.choice(ROOMS)
        if name in self.known:
            self.server.acknowledge(name, len(self.server.logs[name]))

    # Trouble.

    def wire_breaks(self) -> None:
        self.server.stream = None
        self.session.close()

    def server_goes_away(self) -> None:
        if self.session.state not in (State.RESUMING, State.LIVE):
            return
        go_away = chat_pb2.GoAway(reconnect_delay=duration_pb2.Duration(seconds=2))
        self.session.receive(chat_pb2.ChatResponse(go_aways=[go_away]), self.now)
        assert self.session.come_back_time == self.now + 2
        frames = self.session.take_frames(self.now + 9)
        assert all(frame.WhichOneof("payload") in ("ack", "read") for frame in frames), "nothing new is begun"
        assert not frames or self.session.is_leaving, "acks go out last, when nothing is unanswered"
        assert self.server.stream is not None
        self.server.stream.to_server.extend(frames)

    def server_is_set_back(self) -> None:
        keep = {name: self.random.randint(max(0, len(log) - 4), len(log)) for name, log in self.server.logs.items()}
        for ids in self.server.restore(keep).values():
            self.gone |= set(ids)
        self.session.close()

    # All of it.

    def lives(self, step_count: int) -> None:
        steps = {
            self.says: 4, self.others_write: 3, self.sees: 6, self.connects: 4, self.writes: 6, self.reads: 12,
            self.server_reads: 8, self.server_delivers: 6, self.given_up_attempt_takes_effect: 1, self.time_passes: 2,
            self.same_device_acknowledges_elsewhere: 0.3, self.wire_breaks: 0.6, self.server_goes_away: 0.2,
            self.server_is_set_back: 0.3,
        }  # fmt: skip
        for step in self.random.choices(list(steps), list(steps.values()), k=step_count):
            step()

    def comes_to_rest(self) -> None:
        self.wire_breaks()
        self.connects()
        self.runs_without_trouble()
        self.server.logs["group"].append("the last")
        self.server.deliver("group", 1)
        self.reads()
        self.sees()
        self.now += 100.0
        self.writes()
        self.wire_breaks()  # with the last ack under way
        self.connects()
        self.runs_without_trouble()

    def runs_without_trouble(self) -> None:
        quiet_count = 0
        while quiet_count < 3:
            before = (sum(map(len, self.screen.values())), len(self.session.outbox))
            self.now += 100.0
            self.writes()
            assert self.server.stream is not None
            while self.server.stream.to_server:
                self.server_reads(("stored",))
            for name in ROOMS:
                self.server.deliver(name, 1000)
            while self.server.stream.to_client:
                self.reads()
            while self.inbox:
                self.sees()
            after = (sum(map(len, self.screen.values())), len(self.session.outbox))
            quiet_count = quiet_count + 1 if before == after else 0

    def check(self) -> None:
        assert len(self.session.outbox) == 0
        for name, log in self.server.logs.items():
            assert self.screen[name] == log
            assert self.server.cursors[name] == len(log)
            assert not [request_id for request_id, count in Counter(log).items() if count > 1], "one effect each"
            mine = [request_id for request_id in log if request_id.startswith("mine")]
            assert mine == [request_id for request_id in self.said[name] if request_id in mine], "in the order said"
            assert set(self.said[name]) - set(mine) <= self.refused | self.gone
            assert not self.refused & set(mine)


@settings(max_examples=150, phases=[Phase.reuse, Phase.generate])  # what a seed does can't be made smaller
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_all_is_sent_once_in_order_and_seen_once(seed: int) -> None:
    world = World(seed)
    world.lives(250)
    world.comes_to_rest()
    world.check()


def welcomed(session: Session, *, epoch: int = 1) -> chat_pb2.ChatRequest:
    """Opens a stream and takes its welcome and first mark; gives the hello."""
    hello = session.open()
    session.receive(chat_pb2.ChatResponse(welcomes=[chat_pb2.Welcome(epoch=epoch)]), 0.0)
    session.receive(chat_pb2.ChatResponse(caught_up=[chat_pb2.CaughtUp(complete=True)]), 0.0)
    return hello


def entries(name: str, *seqs: int) -> chat_pb2.ChatResponse:
    return chat_pb2.ChatResponse(messages=[message_pb2.Message(conversation_id=name, seq=seq) for seq in seqs])


def test_what_an_earlier_stream_brought_is_dropped_and_acknowledged_again() -> None:
    session = Session("phone")
    welcomed(session)
    for message in session.receive(entries("g", 1, 2), 0.0).messages:
        session.note_dealt(message)
    session.take_frames(50.0)
    session.close()
    welcomed(session)
    session.take_frames(100.0)
    assert [message.seq for message in session.receive(entries("g", 1, 2, 3), 100.0).messages] == [3]
    (frame,) = session.take_frames(150.0)
    assert [position.seq for position in frame.ack.positions] == [2]


def test_marks_of_a_frame_are_not_above_its_own_entries() -> None:
    session = Session("phone")
    welcomed(session)
    frame = entries("g", 1, 2)
    frame.caught_up.add(conversation_id="g", seq=2)
    assert len(session.receive(frame, 0.0).messages) == 2


def test_acks_gather_for_a_second_but_not_while_the_window_is_half_full() -> None:
    session = Session("phone")
    welcomed(session)
    session.take_frames(10.0)
    (first, *rest) = session.receive(entries("g", *range(1, 600)), 10.0).messages
    session.note_dealt(first)
    assert session.take_frames(10.1) == []
    assert session.due_time() == 10.0 + ACK_SECONDS
    for message in rest:
        session.note_dealt(message)
    (frame,) = session.take_frames(10.2)
    assert [position.seq for position in frame.ack.positions] == [599]
    assert session.due_time() is None


def test_hello_has_the_epoch_and_the_positions_that_moved_last() -> None:
    session = Session("phone")
    assert welcomed(session, epoch=7).hello.epoch == 0
    for number in range(MAX_HELLO_POSITIONS + 1):
        session.receive(entries(f"g{number}", 1), 0.0)
    session.receive(entries("g1", 2), 0.0)
    session.close()
    hello = session.open().hello
    named = [position.conversation_id for position in hello.positions]
    assert (hello.epoch, len(named), named[0], named[-1]) == (7, MAX_HELLO_POSITIONS, "g2", "g1")


def test_hello_that_is_refused_is_the_end_and_a_refused_position_is_not() -> None:
    session = Session("phone")
    welcomed(session)
    session.receive(entries("g", 1), 0.0)
    session.close()
    gone = refusal("CONVERSATION_NOT_FOUND", grpc.StatusCode.NOT_FOUND, conversation_id="g")
    hello = welcomed(session)
    frame = chat_pb2.ChatResponse(errors=[chat_pb2.StreamError(correlation_id=hello.correlation_id, error=gone)])
    assert session.receive(frame, 0.0).errors == []
    session.close()
    hello = session.open()
    assert not hello.hello.positions
    full = refusal("TOO_MANY_DEVICES", grpc.StatusCode.RESOURCE_EXHAUSTED)
    frame = chat_pb2.ChatResponse(errors=[chat_pb2.StreamError(correlation_id=hello.correlation_id, error=full)])
    with pytest.raises(HelloRefused) as caught:
        session.receive(frame, 0.0)
    assert judge(caught.value.refusal) is Step.GIVE_UP


def test_frame_that_is_refused_whole_is_the_answer_to_its_send() -> None:
    session = Session("phone")
    welcomed(session)
    session.send(message_pb2.SendRequest(conversation_id="g", text="x", request_id="1"))
    (sent,) = session.take_frames(0.0)
    why = refusal("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT)
    frame = chat_pb2.ChatResponse(errors=[chat_pb2.StreamError(correlation_id=sent.correlation_id, error=why)])
    assert [request.request_id for request, _ in session.receive(frame, 0.0).refused] == ["1"]
    assert len(session.outbox) == 0


def test_send_that_is_refused_for_now_waits_as_long_as_the_server_says() -> None:
    session = Session("phone", draw=lambda: 0.0)
    welcomed(session)
    session.send(message_pb2.SendRequest(conversation_id="g", text="x", request_id="1"))
    (sent,) = session.take_frames(0.0)
    why = refusal("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_seconds=3.0)
    frame = chat_pb2.ChatResponse(results=[message_pb2.SendResult(correlation_id=sent.correlation_id, error=why)])
    assert [request.request_id for request, _ in session.receive(frame, 10.0).postponed] == ["1"]
    assert session.take_frames(12.9) == []
    assert session.due_time() == 13.0
    session.close()
    welcomed(session)
    assert session.take_frames(12.9) == [], "another stream does not make it sooner"
    (again,) = session.take_frames(13.0)
    assert again.send == sent.send


def test_read_position_above_a_reset_is_not_told() -> None:
    session = Session("phone")
    welcomed(session)
    session.note_read("g", 9)
    session.close()
    session.open()
    session.receive(chat_pb2.ChatResponse(welcomes=[chat_pb2.Welcome(epoch=2)]), 0.0)
    assert session.take_frames(50.0) == [], "not before all resets are known"
    session.receive(chat_pb2.ChatResponse(resets=[chat_pb2.Reset(conversation_id="g", seq=4, epoch=2)]), 0.0)
    session.receive(entries("g", 5), 0.0)
    (frame,) = session.take_frames(50.0)
    assert [position.seq for position in frame.read.positions] == [4]


def test_pauses_grow_to_a_limit_and_respect_the_servers_advice() -> None:
    longest = Pauses(lambda: 1.0)
    assert [longest.next(None) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, LAST_PAUSE_SECONDS, LAST_PAUSE_SECONDS]
    assert Pauses(lambda: 0.0).next(2.5) == 2.5
    longest.reset()
    assert longest.next(2.5) == 3.0


@pytest.mark.parametrize(
    ("code", "reason", "retry_seconds", "step"),
    [
        ("OK", "", None, Step.COME_BACK),
        ("UNAVAILABLE", "", None, Step.COME_BACK),
        ("UNAVAILABLE", "SHUTTING_DOWN", 0.5, Step.COME_BACK),
        ("RESOURCE_EXHAUSTED", "RATE_LIMITED", 5.0, Step.COME_BACK),
        ("RESOURCE_EXHAUSTED", "", None, Step.GIVE_UP),
        ("FAILED_PRECONDITION", "OUT_OF_ORDER", None, Step.COME_BACK),
        ("INTERNAL", "INTERNAL", None, Step.COME_BACK),
        ("UNAUTHENTICATED", "TOKEN_EXPIRED", None, Step.REFRESH),
        ("PERMISSION_DENIED", "USER_DISABLED", None, Step.GIVE_UP),
        ("UNIMPLEMENTED", "", None, Step.GIVE_UP),
    ],
)
def test_what_comes_after_a_stream(code: str, reason: str, retry_seconds: float | None, step: Step) -> None:
    assert judge(Refusal(grpc.StatusCode[code], reason, retry_seconds=retry_seconds)) is step


def test_wait_is_what_the_server_asked_for_and_else_a_pause() -> None:
    pauses = Pauses(lambda: 1.0)
    leaving = Refusal(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", retry_seconds=0.5)
    expired = Refusal(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert wait_seconds_after(leaving, pauses, come_back_seconds=1.7, was_welcomed=True) == 1.7
    assert wait_seconds_after(leaving, pauses, come_back_seconds=-3.0, was_welcomed=True) == 0.0
    assert wait_seconds_after(expired, pauses, come_back_seconds=None, was_welcomed=True) == 0.0
    assert wait_seconds_after(leaving, pauses, come_back_seconds=None, was_welcomed=True) == 1.0
    assert wait_seconds_after(expired, pauses, come_back_seconds=None, was_welcomed=False) == 1.0
