"""Server reflection, v1 and v1alpha: everything that grpcurl needs to call and to print, from the address alone."""

from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2
from parley.v1 import chat_service_pb2

from tests.support.servers import RunningServer

CHAT_SERVICE = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]
VERSIONS = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]

Ask = Callable[..., "reflection_pb2.ServerReflectionResponse"]


@pytest.fixture(params=VERSIONS)
async def ask(server: RunningServer, request: pytest.FixtureRequest) -> AsyncIterator[Ask]:
    """Asks one version over one stream; both have the same messages under different names."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        call = channel.stream_stream(
            f"/{request.param}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()

        async def ask_for(**fields: str) -> reflection_pb2.ServerReflectionResponse:
            await call.write(reflection_pb2.ServerReflectionRequest(**fields))
            return await call.read()

        yield ask_for
        call.cancel()


async def test_services_are_listed(ask: Ask):
    response = await ask(list_services="")
    names = {service.name for service in response.list_services_response.service}
    assert names >= {CHAT_SERVICE.full_name, "grpc.health.v1.Health", *VERSIONS}


async def resolve(ask: Ask, symbol: str) -> descriptor_pool.DescriptorPool:
    """Fetches the file of a symbol and all that it imports, as a client does."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    wanted = [{"file_containing_symbol": symbol}]
    while wanted:
        response = await ask(**wanted.pop())
        assert response.HasField("file_descriptor_response"), (symbol, response.error_response)
        for data in response.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            files[file.name] = file
            missing = [name for name in file.dependency if name not in files]
            wanted += [{"file_by_filename": name} for name in missing]
    pool = descriptor_pool.DescriptorPool()

    def add(name: str) -> None:
        for dependency in files[name].dependency:
            add(dependency)
        pool.Add(files[name])

    for name in files:
        add(name)
    return pool


async def test_every_method_is_described_as_the_contract_has_it(ask: Ask):
    pool = await resolve(ask, CHAT_SERVICE.full_name)
    described = pool.FindServiceByName(CHAT_SERVICE.full_name)
    for method in CHAT_SERVICE.methods:
        seen = described.methods_by_name[method.name]
        assert (seen.input_type.full_name, seen.client_streaming, seen.server_streaming) == (
            method.input_type.full_name,
            method.client_streaming,
            method.server_streaming,
        )
        assert seen.output_type.full_name == method.output_type.full_name
        assert {field.name for field in seen.input_type.fields} == {field.name for field in method.input_type.fields}


@pytest.mark.parametrize(
    "symbol",
    [
        "google.rpc.ErrorInfo",
        "google.rpc.BadRequest",
        "google.rpc.RetryInfo",
        "google.rpc.Status",
        "parley.v1.ErrorReason",
        "parley.v1.ChatService.Send",
        "grpc.health.v1.Health",
        *VERSIONS,
    ],
)
async def test_what_clients_decode_is_described(ask: Ask, symbol: str):
    await resolve(ask, symbol)


async def test_reflection_of_v1_describes_itself_as_v1(ask: Ask):
    pool = await resolve(ask, VERSIONS[0])
    method = pool.FindServiceByName(VERSIONS[0]).methods_by_name["ServerReflectionInfo"]
    assert method.input_type.full_name == "grpc.reflection.v1.ServerReflectionRequest"


async def test_unknown_symbol_is_an_answer_and_not_an_end(ask: Ask):
    response = await ask(file_containing_symbol="no.such.Symbol")
    assert response.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert (await ask(list_services="")).HasField("list_services_response")
