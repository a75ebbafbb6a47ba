import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemberRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMBER_ROLE_UNSPECIFIED: _ClassVar[MemberRole]
    MEMBER_ROLE_READER: _ClassVar[MemberRole]
    MEMBER_ROLE_MEMBER: _ClassVar[MemberRole]
    MEMBER_ROLE_ADMIN: _ClassVar[MemberRole]
    MEMBER_ROLE_OWNER: _ClassVar[MemberRole]
MEMBER_ROLE_UNSPECIFIED: MemberRole
MEMBER_ROLE_READER: MemberRole
MEMBER_ROLE_MEMBER: MemberRole
MEMBER_ROLE_ADMIN: MemberRole
MEMBER_ROLE_OWNER: MemberRole

class Message(_message.Message):
    __slots__ = ("conversation_id", "seq", "sender", "text", "data", "content_type", "request_id", "create_time", "attachments", "reply_to_seq", "mentions", "attributes", "delivery_attempt", "message", "membership")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_SEQ_FIELD_NUMBER: _ClassVar[int]
    MENTIONS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    seq: int
    sender: str
    text: str
    data: bytes
    content_type: str
    request_id: str
    create_time: _timestamp_pb2.Timestamp
    attachments: _containers.RepeatedCompositeFieldContainer[Attachment]
    reply_to_seq: int
    mentions: _containers.RepeatedScalarFieldContainer[str]
    attributes: _containers.ScalarMap[str, str]
    delivery_attempt: int
    message: PlainMessage
    membership: MembershipChange
    def __init__(self, conversation_id: _Optional[str] = ..., seq: _Optional[int] = ..., sender: _Optional[str] = ..., text: _Optional[str] = ..., data: _Optional[bytes] = ..., content_type: _Optional[str] = ..., request_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attachments: _Optional[_Iterable[_Union[Attachment, _Mapping]]] = ..., reply_to_seq: _Optional[int] = ..., mentions: _Optional[_Iterable[str]] = ..., attributes: _Optional[_Mapping[str, str]] = ..., delivery_attempt: _Optional[int] = ..., message: _Optional[_Union[PlainMessage, _Mapping]] = ..., membership: _Optional[_Union[MembershipChange, _Mapping]] = ...) -> None: ...

class PlainMessage(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MembershipChange(_message.Message):
    __slots__ = ("action", "members", "role")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[MembershipChange.Action]
        ACTION_ADDED: _ClassVar[MembershipChange.Action]
        ACTION_REMOVED: _ClassVar[MembershipChange.Action]
        ACTION_ROLE_CHANGED: _ClassVar[MembershipChange.Action]
        ACTION_CONVERSATION_DELETED: _ClassVar[MembershipChange.Action]
    ACTION_UNSPECIFIED: MembershipChange.Action
    ACTION_ADDED: MembershipChange.Action
    ACTION_REMOVED: MembershipChange.Action
    ACTION_ROLE_CHANGED: MembershipChange.Action
    ACTION_CONVERSATION_DELETED: MembershipChange.Action
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    action: MembershipChange.Action
    members: _containers.RepeatedScalarFieldContainer[str]
    role: MemberRole
    def __init__(self, action: _Optional[_Union[MembershipChange.Action, str]] = ..., members: _Optional[_Iterable[str]] = ..., role: _Optional[_Union[MemberRole, str]] = ...) -> None: ...

class Attachment(_message.Message):
    __slots__ = ("uri", "media_type", "size_bytes", "name")
    URI_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    uri: str
    media_type: str
    size_bytes: int
    name: str
    def __init__(self, uri: _Optional[str] = ..., media_type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class SendRequest(_message.Message):
    __slots__ = ("conversation_id", "text", "request_id", "data", "content_type", "attachments", "reply_to_seq", "mentions", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_SEQ_FIELD_NUMBER: _ClassVar[int]
    MENTIONS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    text: str
    request_id: str
    data: bytes
    content_type: str
    attachments: _containers.RepeatedCompositeFieldContainer[Attachment]
    reply_to_seq: int
    mentions: _containers.RepeatedScalarFieldContainer[str]
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, conversation_id: _Optional[str] = ..., text: _Optional[str] = ..., request_id: _Optional[str] = ..., data: _Optional[bytes] = ..., content_type: _Optional[str] = ..., attachments: _Optional[_Iterable[_Union[Attachment, _Mapping]]] = ..., reply_to_seq: _Optional[int] = ..., mentions: _Optional[_Iterable[str]] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SendResponse(_message.Message):
    __slots__ = ("message", "deduplicated")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    message: Message
    deduplicated: bool
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., deduplicated: _Optional[bool] = ...) -> None: ...

class BatchSendRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[SendRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[SendRequest, _Mapping]]] = ...) -> None: ...

class BatchSendResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SendResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SendResult, _Mapping]]] = ...) -> None: ...

class SendResult(_message.Message):
    __slots__ = ("correlation_id", "index", "accepted", "error")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    correlation_id: int
    index: int
    accepted: Accepted
    error: _status_pb2.Status
    def __init__(self, correlation_id: _Optional[int] = ..., index: _Optional[int] = ..., accepted: _Optional[_Union[Accepted, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("conversation_id", "seq", "create_time", "deduplicated")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    seq: int
    create_time: _timestamp_pb2.Timestamp
    deduplicated: bool
    def __init__(self, conversation_id: _Optional[str] = ..., seq: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deduplicated: _Optional[bool] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("conversation_id", "cursor", "limit", "reverse", "from_time")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    FROM_TIME_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    cursor: int
    limit: int
    reverse: bool
    from_time: _timestamp_pb2.Timestamp
    def __init__(self, conversation_id: _Optional[str] = ..., cursor: _Optional[int] = ..., limit: _Optional[int] = ..., reverse: _Optional[bool] = ..., from_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PullResponse(_message.Message):
    __slots__ = ("messages", "next_cursor", "has_more", "epoch")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    next_cursor: int
    has_more: bool
    epoch: int
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., next_cursor: _Optional[int] = ..., has_more: _Optional[bool] = ..., epoch: _Optional[int] = ...) -> None: ...
