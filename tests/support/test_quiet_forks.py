"""Children of a process that is busy with gRPC come up, all of them."""

import subprocess
import threading

import grpc
from parley.v1 import chat_service_pb2_grpc, server_info_pb2

from tests.support.servers import RunningServer


def test_children_that_are_forked_beside_busy_channels_run_their_program(server: RunningServer) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(server.target, options) for _ in range(4)]
    is_over = threading.Event()

    def call(channel: grpc.Channel) -> None:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        while not is_over.is_set():
            stub.GetServerInfo(server_info_pb2.GetServerInfoRequest(), timeout=20)

    threads = [threading.Thread(target=call, args=(channel,)) for channel in channels]
    for thread in threads:
        thread.start()
    try:
        # A function to run before the program has subprocess fork, as it does where it changes the user.
        ends = [subprocess.run(["true"], preexec_fn=lambda: None, check=False).returncode for _ in range(200)]
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        for channel in channels:
            channel.close()
    assert ends == [0] * 200
