"""One message over a connection of its own, for tests that run no event loop."""

import grpc
from parley.v1 import account_pb2, chat_service_pb2_grpc, message_pb2

PASSWORD = "correct horse battery"


def send(target: str, request_id: str) -> message_pb2.SendResponse:
    """Registers alice and bob, where they are missing, and sends one message; waits for a server that is coming up."""
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        try:
            for name in ("alice", "bob"):
                stub.Register(
                    account_pb2.RegisterRequest(username=name, password=PASSWORD), timeout=20, wait_for_ready=True
                )
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        login = stub.Login(account_pb2.LoginRequest(username="alice", password=PASSWORD), timeout=20)
        request = message_pb2.SendRequest(conversation_id="alice:bob", text="hello", request_id=request_id)
        metadata = (("authorization", f"Bearer {login.access_token}"),)
        response: message_pb2.SendResponse = stub.Send(request, metadata=metadata, timeout=20)
        return response
