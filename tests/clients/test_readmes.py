"""The code on the pages of the two Python clients runs as pasted, one block after the other."""

import subprocess
import sys
import textwrap

import grpc
import pytest
from parley.v1 import chat_service_pb2_grpc

from tests.docs.pages import ROOT, list_blocks
from tests.support.callers import register
from tests.support.people import PASSWORD
from tests.support.servers import RunningServer

TAIL = "print(sent.message.text)"
IN_MAIN = "import asyncio\nasync def main():\n{}\nasyncio.run(main())\n"


@pytest.mark.parametrize(("client", "frame", "indent"), [("python", "{}", ""), ("python-betterproto", IN_MAIN, "    ")])
def test_code_of_the_page_runs_as_pasted(server: RunningServer, client: str, frame: str, indent: str) -> None:
    with grpc.insecure_channel(server.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        alice, bob = register(stub).name, register(stub).name
    blocks = [
        content for language, content in list_blocks(ROOT / f"clients/{client}/README.md") if language == "python"
    ]
    assert len(blocks) == 4
    code = "".join(blocks) + indent + TAIL
    host, _, port = server.target.rpartition(":")
    for shown, real in (
        ("127.0.0.1:50051", server.target),
        ('"127.0.0.1", 50051', f'"{host}", {port}'),
        ('"alice:bob"', f'"{alice}:{bob}"'),
        ('"alice", password="..."', f'"{alice}", password="{PASSWORD}"'),
    ):
        code = code.replace(shown, real)
    program = frame.format(textwrap.indent(code, indent))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=50, check=False
    )
    assert done.returncode == 0, f"{program}\n{done.stderr}"
    refusal, text = done.stdout.splitlines()
    assert "INVALID_REQUEST 10002" in refusal
    assert text == "Hello!"
