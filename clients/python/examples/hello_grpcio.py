"""Registers or logs in, opens Chat, sends a note to itself and prints it when it comes back. Arguments: [host:port]."""

import queue
import sys

import grpc
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, message_pb2

NAME, SECRET = "hello-grpcio", "correct horse battery staple"

with grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051") as channel:
    parley = chat_service_pb2_grpc.ChatServiceStub(channel)
    try:
        login = parley.Register(account_pb2.RegisterRequest(username=NAME, password=SECRET))
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.ALREADY_EXISTS:
            raise
        login = parley.Login(account_pb2.LoginRequest(username=NAME, password=SECRET))

    frames: queue.SimpleQueue[chat_pb2.ChatRequest | None] = queue.SimpleQueue()  # None ends our half of the stream
    frames.put(chat_pb2.ChatRequest(hello=chat_pb2.Hello(start=chat_pb2.START_LATEST)))
    note = message_pb2.SendRequest(conversation_id=f"{NAME}:{NAME}", text="Hello, Parley!")
    frames.put(chat_pb2.ChatRequest(correlation_id=1, send=chat_pb2.SendFrame(requests=[note])))
    for frame in parley.Chat(iter(frames.get, None), metadata=[("authorization", f"Bearer {login.access_token}")]):
        for result in frame.results:
            print("stored as", result.accepted.seq if result.HasField("accepted") else result.error.message)
        for message in frame.messages:
            print(f"received {message.seq} from {message.sender}: {message.text}")
            frames.put(None)
