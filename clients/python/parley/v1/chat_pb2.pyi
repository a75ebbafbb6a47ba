import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from parley.v1 import message_pb2 as _message_pb2
from parley.v1 import presence_pb2 as _presence_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AckMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACK_MODE_UNSPECIFIED: _ClassVar[AckMode]
    ACK_MODE_CUMULATIVE: _ClassVar[AckMode]
    ACK_MODE_MANUAL: _ClassVar[AckMode]

class Start(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    START_UNSPECIFIED: _ClassVar[Start]
    START_FROM_ACKS: _ClassVar[Start]
    START_LATEST: _ClassVar[Start]
ACK_MODE_UNSPECIFIED: AckMode
ACK_MODE_CUMULATIVE: AckMode
ACK_MODE_MANUAL: AckMode
START_UNSPECIFIED: Start
START_FROM_ACKS: Start
START_LATEST: Start

class ChatRequest(_message.Message):
    __slots__ = ("correlation_id", "hello", "send", "ack", "nack", "flow", "read", "typing", "watch_presence", "authenticate")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    TYPING_FIELD_NUMBER: _ClassVar[int]
    WATCH_PRESENCE_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATE_FIELD_NUMBER: _ClassVar[int]
    correlation_id: int
    hello: Hello
    send: SendFrame
    ack: AckFrame
    nack: NackFrame
    flow: FlowFrame
    read: ReadFrame
    typing: TypingFrame
    watch_presence: WatchPresence
    authenticate: Authenticate
    def __init__(self, correlation_id: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., send: _Optional[_Union[SendFrame, _Mapping]] = ..., ack: _Optional[_Union[AckFrame, _Mapping]] = ..., nack: _Optional[_Union[NackFrame, _Mapping]] = ..., flow: _Optional[_Union[FlowFrame, _Mapping]] = ..., read: _Optional[_Union[ReadFrame, _Mapping]] = ..., typing: _Optional[_Union[TypingFrame, _Mapping]] = ..., watch_presence: _Optional[_Union[WatchPresence, _Mapping]] = ..., authenticate: _Optional[_Union[Authenticate, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("device_id", "start", "positions", "no_echo", "heartbeat", "epoch", "window_messages", "window_bytes", "ack_mode", "ordered", "ack_deadline", "watch_receipts")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    NO_ECHO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    ACK_MODE_FIELD_NUMBER: _ClassVar[int]
    ORDERED_FIELD_NUMBER: _ClassVar[int]
    ACK_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    WATCH_RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    start: Start
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    no_echo: bool
    heartbeat: _duration_pb2.Duration
    epoch: int
    window_messages: int
    window_bytes: int
    ack_mode: AckMode
    ordered: bool
    ack_deadline: _duration_pb2.Duration
    watch_receipts: bool
    def __init__(self, device_id: _Optional[str] = ..., start: _Optional[_Union[Start, str]] = ..., positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., no_echo: _Optional[bool] = ..., heartbeat: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., epoch: _Optional[int] = ..., window_messages: _Optional[int] = ..., window_bytes: _Optional[int] = ..., ack_mode: _Optional[_Union[AckMode, str]] = ..., ordered: _Optional[bool] = ..., ack_deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., watch_receipts: _Optional[bool] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("conversation_id", "seq")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    seq: int
    def __init__(self, conversation_id: _Optional[str] = ..., seq: _Optional[int] = ...) -> None: ...

class SendFrame(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[_message_pb2.SendRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[_message_pb2.SendRequest, _Mapping]]] = ...) -> None: ...

class AckFrame(_message.Message):
    __slots__ = ("positions",)
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    def __init__(self, positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ...) -> None: ...

class FlowFrame(_message.Message):
    __slots__ = ("total_messages",)
    TOTAL_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    total_messages: int
    def __init__(self, total_messages: _Optional[int] = ...) -> None: ...

class NackFrame(_message.Message):
    __slots__ = ("nacks",)
    NACKS_FIELD_NUMBER: _ClassVar[int]
    nacks: _containers.RepeatedCompositeFieldContainer[Nack]
    def __init__(self, nacks: _Optional[_Iterable[_Union[Nack, _Mapping]]] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("conversation_id", "seq", "reason", "retry_delay")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    seq: int
    reason: str
    retry_delay: _duration_pb2.Duration
    def __init__(self, conversation_id: _Optional[str] = ..., seq: _Optional[int] = ..., reason: _Optional[str] = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReadFrame(_message.Message):
    __slots__ = ("positions",)
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    def __init__(self, positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ...) -> None: ...

class TypingFrame(_message.Message):
    __slots__ = ("conversation_id", "active")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    active: bool
    def __init__(self, conversation_id: _Optional[str] = ..., active: _Optional[bool] = ...) -> None: ...

class WatchPresence(_message.Message):
    __slots__ = ("usernames",)
    USERNAMES_FIELD_NUMBER: _ClassVar[int]
    usernames: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, usernames: _Optional[_Iterable[str]] = ...) -> None: ...

class Authenticate(_message.Message):
    __slots__ = ("access_token",)
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    def __init__(self, access_token: _Optional[str] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("welcomes", "results", "messages", "caught_up", "presence", "typing", "receipts", "errors", "resets", "heartbeats", "go_aways")
    WELCOMES_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    TYPING_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    RESETS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEATS_FIELD_NUMBER: _ClassVar[int]
    GO_AWAYS_FIELD_NUMBER: _ClassVar[int]
    welcomes: _containers.RepeatedCompositeFieldContainer[Welcome]
    results: _containers.RepeatedCompositeFieldContainer[_message_pb2.SendResult]
    messages: _containers.RepeatedCompositeFieldContainer[_message_pb2.Message]
    caught_up: _containers.RepeatedCompositeFieldContainer[CaughtUp]
    presence: _containers.RepeatedCompositeFieldContainer[_presence_pb2.PresenceEvent]
    typing: _containers.RepeatedCompositeFieldContainer[_presence_pb2.TypingEvent]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    errors: _containers.RepeatedCompositeFieldContainer[StreamError]
    resets: _containers.RepeatedCompositeFieldContainer[Reset]
    heartbeats: _containers.RepeatedCompositeFieldContainer[Heartbeat]
    go_aways: _containers.RepeatedCompositeFieldContainer[GoAway]
    def __init__(self, welcomes: _Optional[_Iterable[_Union[Welcome, _Mapping]]] = ..., results: _Optional[_Iterable[_Union[_message_pb2.SendResult, _Mapping]]] = ..., messages: _Optional[_Iterable[_Union[_message_pb2.Message, _Mapping]]] = ..., caught_up: _Optional[_Iterable[_Union[CaughtUp, _Mapping]]] = ..., presence: _Optional[_Iterable[_Union[_presence_pb2.PresenceEvent, _Mapping]]] = ..., typing: _Optional[_Iterable[_Union[_presence_pb2.TypingEvent, _Mapping]]] = ..., receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., errors: _Optional[_Iterable[_Union[StreamError, _Mapping]]] = ..., resets: _Optional[_Iterable[_Union[Reset, _Mapping]]] = ..., heartbeats: _Optional[_Iterable[_Union[Heartbeat, _Mapping]]] = ..., go_aways: _Optional[_Iterable[_Union[GoAway, _Mapping]]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("correlation_id", "username", "device_id", "session_id", "epoch", "server_time", "conversation_count", "access_expire_time")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCESS_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    correlation_id: int
    username: str
    device_id: str
    session_id: str
    epoch: int
    server_time: _timestamp_pb2.Timestamp
    conversation_count: int
    access_expire_time: _timestamp_pb2.Timestamp
    def __init__(self, correlation_id: _Optional[int] = ..., username: _Optional[str] = ..., device_id: _Optional[str] = ..., session_id: _Optional[str] = ..., epoch: _Optional[int] = ..., server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., conversation_count: _Optional[int] = ..., access_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CaughtUp(_message.Message):
    __slots__ = ("conversation_id", "seq", "complete")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    seq: int
    complete: bool
    def __init__(self, conversation_id: _Optional[str] = ..., seq: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("conversation_id", "username", "delivered_seq", "read_seq", "seq", "delivered_count", "read_count")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_SEQ_FIELD_NUMBER: _ClassVar[int]
    READ_SEQ_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_COUNT_FIELD_NUMBER: _ClassVar[int]
    READ_COUNT_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    username: str
    delivered_seq: int
    read_seq: int
    seq: int
    delivered_count: int
    read_count: int
    def __init__(self, conversation_id: _Optional[str] = ..., username: _Optional[str] = ..., delivered_seq: _Optional[int] = ..., read_seq: _Optional[int] = ..., seq: _Optional[int] = ..., delivered_count: _Optional[int] = ..., read_count: _Optional[int] = ...) -> None: ...

class Reset(_message.Message):
    __slots__ = ("conversation_id", "seq", "epoch")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    seq: int
    epoch: int
    def __init__(self, conversation_id: _Optional[str] = ..., seq: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class StreamError(_message.Message):
    __slots__ = ("correlation_id", "error")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    correlation_id: int
    error: _status_pb2.Status
    def __init__(self, correlation_id: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("server_time",)
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    server_time: _timestamp_pb2.Timestamp
    def __init__(self, server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("reconnect_delay",)
    RECONNECT_DELAY_FIELD_NUMBER: _ClassVar[int]
    reconnect_delay: _duration_pb2.Duration
    def __init__(self, reconnect_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("hello",)
    HELLO_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ...) -> None: ...

class AckRequest(_message.Message):
    __slots__ = ("positions", "device_id", "epoch")
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    device_id: str
    epoch: int
    def __init__(self, positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., device_id: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class AckResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
