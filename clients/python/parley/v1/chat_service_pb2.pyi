from parley.v1 import account_pb2 as _account_pb2
from parley.v1 import chat_pb2 as _chat_pb2
from parley.v1 import conversation_pb2 as _conversation_pb2
from parley.v1 import dead_letter_pb2 as _dead_letter_pb2
from parley.v1 import message_pb2 as _message_pb2
from parley.v1 import presence_pb2 as _presence_pb2
from parley.v1 import server_info_pb2 as _server_info_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
