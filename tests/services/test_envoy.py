"""Envoy as it is shipped, with TLS: gRPC, gRPC-Web as browsers speak it, and what a client sees of a node's death."""

import asyncio
import base64
import contextlib
import http.client
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf.message import Message
from google.rpc import status_pb2
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, server_info_pb2

from tests.services.envoy import Envoy
from tests.services.site import Site, open_site, own
from tests.support.certificates import make_certificate
from tests.support.people import PASSWORD, Person, fresh_name, reason_of, registered
from tests.support.servers import RunningServer, running_server

_SERVICE = "/parley.v1.ChatService"
_TRAILERS = 0x80


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with open_site() as opened:
        yield opened


@pytest.fixture(scope="module")
def node() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(place: Site) -> Path:
    for path in make_certificate(place.directory, host="localhost"):
        own(path)
    return place.directory / "certificate.pem"


@pytest.fixture(scope="module")
def envoy(place: Site, node: RunningServer, certificate: Path) -> Envoy:
    proxy = Envoy(place, [node.target], certificate=(certificate, certificate.with_name("key.pem")))
    proxy.start(healthy_count=1)
    return proxy


def trusting(certificate: Path) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(certificate.read_bytes())


@contextlib.asynccontextmanager
async def registered_by_tls(envoy: Envoy, certificate: Path) -> AsyncIterator[Person]:
    credentials = trusting(certificate)
    target = f"localhost:{envoy.target.rpartition(':')[2]}"
    async with grpc.aio.secure_channel(target, credentials) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        request = account_pb2.RegisterRequest(username=fresh_name(), password=PASSWORD, device_id="phone")
        answer = await stub.Register(request, timeout=20)
        yield Person(channel, stub, answer.user.username, answer.access_token, answer.refresh_token, "phone")


@contextlib.contextmanager
def browser(envoy: Envoy, certificate: Path) -> Iterator[http.client.HTTPSConnection]:
    """A connection as a page has it: HTTP/1.1 over TLS."""
    context = ssl.create_default_context(cafile=str(certificate))
    port = int(envoy.target.rpartition(":")[2])
    with contextlib.closing(http.client.HTTPSConnection("localhost", port, context=context, timeout=20)) as connection:
        yield connection


def post(
    connection: http.client.HTTPSConnection, method: str, request: Message, **headers: str
) -> http.client.HTTPResponse:
    """Sends a gRPC-Web request; gives the answer, of which the body is not read."""
    body = request.SerializeToString()
    frame = struct.pack(">BI", 0, len(body)) + body
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers}
    connection.request("POST", f"{_SERVICE}/{method}", frame, headers)
    return connection.getresponse()


def read_frame(response: http.client.HTTPResponse) -> tuple[bool, bytes]:
    """Reads a frame of an answer: whether it has trailers, and its bytes."""
    flags, size = struct.unpack(">BI", response.read(5))
    return bool(flags & _TRAILERS), response.read(size)


async def test_calls_and_streams_go_through_by_tls(envoy: Envoy, certificate: Path) -> None:
    async with registered_by_tls(envoy, certificate) as ann, registered_by_tls(envoy, certificate) as bob:
        group = await ann.make_group(bob)
        async with bob.chat() as stream:
            await ann.send(group, "hello")
            await stream.until(lambda: "hello" in stream.texts(group), "the message")


def test_browser_calls_and_is_told_the_details_of_a_refusal(envoy: Envoy, certificate: Path) -> None:
    with browser(envoy, certificate) as page:
        answer = post(page, "GetServerInfo", server_info_pb2.GetServerInfoRequest())
        is_trailers, body = read_frame(answer)
        assert not is_trailers
        assert server_info_pb2.GetServerInfoResponse.FromString(body).version
        is_trailers, trailers = read_frame(answer)
        assert is_trailers
        assert b"grpc-status:0" in trailers.lower()
        answer.read()
        refused = post(page, "GetUser", account_pb2.GetUserRequest(username="nobody"))
        assert refused.getheader("grpc-status") == "16"  # UNAUTHENTICATED
        details = base64.b64decode(f"{refused.getheader('grpc-status-details-bin')}==")
        assert reason_of(status_pb2.Status.FromString(details)) == "TOKEN_MISSING"
        refused.read()


async def test_browser_gets_messages_by_subscribe(envoy: Envoy, certificate: Path) -> None:
    def read_texts(answer: http.client.HTTPResponse) -> list[str]:
        """Reads frames until one has texts."""
        while True:
            is_trailers, body = read_frame(answer)
            assert not is_trailers, body
            if texts := [message.text for message in chat_pb2.ChatResponse.FromString(body).messages if message.text]:
                return texts

    async with registered_by_tls(envoy, certificate) as ann, registered_by_tls(envoy, certificate) as bob:
        group = await ann.make_group(bob)
        request = chat_pb2.SubscribeRequest(hello=chat_pb2.Hello(device_id="page"))
        with browser(envoy, certificate) as page:
            answer = await asyncio.to_thread(post, page, "Subscribe", request, authorization=f"Bearer {bob.token}")
            await ann.send(group, "to the page")
            assert await asyncio.to_thread(read_texts, answer) == ["to the page"]
            answer.close()


@pytest.mark.parametrize("is_named", [True, False])
def test_pages_of_sites_that_are_named_may_call_and_no_others(site: Site, node: RunningServer, is_named: bool) -> None:
    allowed = "https://chat.example"
    proxy = Envoy(site, [node.target], allowed_origins=(allowed,))
    proxy.start(healthy_count=1)
    origin = allowed if is_named else "https://elsewhere.example"
    host, _, port = proxy.target.rpartition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=20)) as page:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-grpc-web"}
        page.request("OPTIONS", f"{_SERVICE}/GetServerInfo", headers={"origin": origin, **asked})
        answer = page.getresponse()
        assert answer.getheader("access-control-allow-origin") == (allowed if is_named else None)
        if is_named:
            assert "authorization" in (answer.getheader("access-control-allow-headers") or "")


async def test_death_of_a_node_is_told_without_details(site: Site) -> None:
    with running_server() as node:
        proxy = Envoy(site, [node.target])
        await asyncio.to_thread(proxy.start, healthy_count=1)
        async with registered(proxy.target) as ann, ann.chat() as stream:
            for process in psutil.Process(node.process.pid).children():
                if "parley worker" in " ".join(process.cmdline()):
                    process.kill()
            assert await stream.end() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
            assert stream.ending is not None
            assert "grpc-status-details-bin" not in dict(stream.ending.trailing_metadata() or ())
