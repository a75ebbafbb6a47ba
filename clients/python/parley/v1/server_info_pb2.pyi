import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("name", "version", "api_version", "commit", "limits", "start_time", "epoch", "components")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    API_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    api_version: str
    commit: str
    limits: Limits
    start_time: _timestamp_pb2.Timestamp
    epoch: int
    components: _containers.RepeatedCompositeFieldContainer[Component]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., api_version: _Optional[str] = ..., commit: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., epoch: _Optional[int] = ..., components: _Optional[_Iterable[_Union[Component, _Mapping]]] = ...) -> None: ...

class Component(_message.Message):
    __slots__ = ("name", "state")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Component.State]
        STATE_OK: _ClassVar[Component.State]
        STATE_AWAY: _ClassVar[Component.State]
    STATE_UNSPECIFIED: Component.State
    STATE_OK: Component.State
    STATE_AWAY: Component.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Component.State
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Component.State, str]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_text_bytes", "max_message_bytes", "max_request_bytes", "max_response_bytes", "max_batch_requests", "max_pull_limit", "max_members_per_request", "max_members", "max_presence_usernames", "max_devices", "max_streams", "access_token_lifetime", "refresh_token_lifetime")
    MAX_TEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_PULL_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMBERS_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MAX_PRESENCE_USERNAMES_FIELD_NUMBER: _ClassVar[int]
    MAX_DEVICES_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAMS_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    max_text_bytes: int
    max_message_bytes: int
    max_request_bytes: int
    max_response_bytes: int
    max_batch_requests: int
    max_pull_limit: int
    max_members_per_request: int
    max_members: int
    max_presence_usernames: int
    max_devices: int
    max_streams: int
    access_token_lifetime: _duration_pb2.Duration
    refresh_token_lifetime: _duration_pb2.Duration
    def __init__(self, max_text_bytes: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_request_bytes: _Optional[int] = ..., max_response_bytes: _Optional[int] = ..., max_batch_requests: _Optional[int] = ..., max_pull_limit: _Optional[int] = ..., max_members_per_request: _Optional[int] = ..., max_members: _Optional[int] = ..., max_presence_usernames: _Optional[int] = ..., max_devices: _Optional[int] = ..., max_streams: _Optional[int] = ..., access_token_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., refresh_token_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
