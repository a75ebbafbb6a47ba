"""Commands that an operator runs beside a running server."""

import grpc
from parley.v1 import account_pb2, chat_service_pb2_grpc, server_info_pb2

from tests.support.processes import child, replaced, run
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until


def test_accounts_and_tokens_from_the_command_line(running: RunningServer) -> None:
    place = ("--data-dir", str(running.data_dir))
    assert run("user", "create", "Service-1", *place).stdout == "made service-1\n"
    token = run("token", "service-1", "--ttl", "600", *place).stdout.strip()
    with grpc.insecure_channel(running.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)
        answer = stub.GetUser(account_pb2.GetUserRequest(), metadata=metadata, timeout=10)
        assert answer.user.username == "service-1"
        assert run("user", "disable", "service-1", *place).returncode == 0
        refused = run("token", "service-1", *place)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "there is no open account: service-1" in refused.stderr

        def is_refused() -> bool:
            try:
                stub.GetUser(account_pb2.GetUserRequest(), metadata=metadata, timeout=10)
            except grpc.RpcError as error:
                return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
            return False

        wait_until(is_refused, limit_seconds=15, what="the end of a disabled account's token")


def test_a_service_gets_its_account_with_its_first_token(running: RunningServer) -> None:
    place = ("--data-dir", str(running.data_dir))
    missing = run("token", "service-2", *place)
    assert (missing.returncode, missing.stdout) == (1, "")
    tokens = {run("token", "--service", "Service-2", *place).stdout.strip() for _ in range(2)}
    assert len(tokens) == 2
    with grpc.insecure_channel(running.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        for token in tokens:
            metadata = (("authorization", f"Bearer {token}"),)
            answer = stub.GetUser(account_pb2.GetUserRequest(), metadata=metadata, timeout=10)
            assert answer.user.username == "service-2"


def test_a_service_gets_no_token_for_a_name_that_somebody_registered_before_it(running: RunningServer) -> None:
    place = ("--data-dir", str(running.data_dir))
    with grpc.insecure_channel(running.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        stub.Register(account_pb2.RegisterRequest(username="billing", password="of a squatter"), timeout=20)
    refused = run("token", "--service", "Billing", "service-3", *place)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("parley: somebody has a password for billing: ")
    assert run("token", "billing", *place).returncode == 0
    assert run("token", "--service", "service-3", *place).returncode == 0


def test_a_restore_begins_another_epoch_and_workers_start_anew_with_it(running: RunningServer) -> None:
    place = ("--data-dir", str(running.data_dir))
    refused = run("restored", *place)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "say --yes if that is meant" in refused.stderr
    workers = [child(running, f"parley worker {index}") for index in range(2)]
    told = run("restored", "--yes", *place)
    assert told.stderr == ""
    epoch = int(told.stdout.removeprefix("epoch ").removesuffix(" begins\n"))
    assert epoch > 1
    for index, worker in enumerate(workers):
        assert replaced(running, worker, f"parley worker {index}")
    assert [line for line in running.output if '"level": "error"' in line] == []
    assert running.text.count("process starts anew") == len(workers)

    def knows_the_epoch() -> bool:
        with grpc.insecure_channel(running.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            request = server_info_pb2.GetServerInfoRequest()
            return bool(stub.GetServerInfo(request, timeout=10, wait_for_ready=True).epoch == epoch)

    wait_until(knows_the_epoch, limit_seconds=20, what="the epoch")
    away = run("restored", "--data-dir", str(running.data_dir / "nothing"))
    assert (away.returncode, away.stdout) == (1, "")
    assert "no server runs on the data directory" in away.stderr
