"""Registers or logs in, opens Chat, sends a note to itself and prints it when it comes back. Arguments: [host:port]."""

import sys

import grpc
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, message_pb2

ME = {"username": "hello-grpcio", "password": "correct horse battery staple"}
HELLO = chat_pb2.ChatRequest(hello=chat_pb2.Hello(start=chat_pb2.START_LATEST))
NOTE = message_pb2.SendRequest(conversation_id="hello-grpcio:hello-grpcio", text="Hello, Parley!")
SEND = chat_pb2.ChatRequest(correlation_id=1, send=chat_pb2.SendFrame(requests=[NOTE]))
with grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051") as channel:
    parley = chat_service_pb2_grpc.ChatServiceStub(channel)
    try:
        login = parley.Register(account_pb2.RegisterRequest(**ME))
    except grpc.RpcError:  # most likely the name is taken, by this example; else Login fails too, and says why
        login = parley.Login(account_pb2.LoginRequest(**ME))
    # After the last frame our half of the stream ends; the server still answers, brings the note, and ends its half.
    for frame in parley.Chat(iter([HELLO, SEND]), metadata=[("authorization", f"Bearer {login.access_token}")]):
        for result in frame.results:
            print("stored as", result.accepted.seq or result.error.message)
        for message in frame.messages:
            print(f"received {message.seq} from {message.sender}: {message.text}")
