"""The runners: what each needs, how it is built and started, and why one is left out."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENTS = ROOT / "clients"
BUILD = ROOT / "build"


@dataclass(frozen=True, slots=True)
class Language:
    """A runner.

    Attributes:
        name: as in `make conformance LANGUAGE=name`, and the runner's folder in clients/ unless `folder` says another.
        command: what starts it, in its folder.
        example: what runs the example that people copy, in its folder; host:port is put behind it.
        example_file: where the session is that people copy.
        has_session: its runner drives that session.
        example_user: who it is, as whom it sends notes to itself.
        package: patterns of the files that a program takes along of ours.
        build: what builds it first, in its folder; each is repeatable and does nothing when nothing changed.
        tools: programs that must be on PATH.
        left_out: scenarios that are not for it -> why.
        is_quick: built soon enough to be part of `make check`.
        environment: beside what is set.
        clients: the folder that has its folder; another one for a release that was taken out of history.
    """

    name: str
    command: Sequence[str]
    example: Sequence[str] = ()
    example_file: str = ""
    example_user: str = ""
    has_session: bool = False
    package: Sequence[str] = ()
    build: Sequence[Sequence[str]] = ()
    tools: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    is_quick: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    clients: Path = CLIENTS

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.clients / self.name

    @property
    def missing(self) -> str:
        """Why it can't run here; empty when it can."""
        absent = [tool for tool in self.tools if shutil.which(tool) is None]
        return f"{' and '.join(absent)} not on PATH" if absent else ""

    def playing_environment(self) -> dict[str, str]:
        """That of its runner and example: with a proxy that leads nowhere, which loopback must not use."""
        names = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
        dead = {case(name): "http://127.0.0.1:9" for name in names for case in (str.lower, str.upper)}
        return self.full_environment() | dead

    def full_environment(self) -> dict[str, str]:
        """The environment of what builds it: no proxy may come between, and no setting of ours."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PARLEY_") and not name.lower().endswith("_proxy")
        }
        return kept | self.environment


# The flag is for what Netty does, of which newer JDKs warn.
_JVM = ("java", "--enable-native-access=ALL-UNNAMED", "-cp", "target/*:target/test-classes:target/lib/*")

LANGUAGES: tuple[Language, ...] = (
    Language(
        "python",
        (sys.executable, "-m", "conformance"),
        example=(sys.executable, "examples/chat.py"),
        example_file="examples/session.py",
        example_user="chat-grpcio",
        has_session=True,
        package=["parley/**/*"],
        is_quick=True,
        environment={"PYTHONPATH": ".:examples"},
    ),
    Language(
        "python-betterproto",
        (sys.executable, "-m", "conformance"),
        example=(sys.executable, "examples/chat.py"),
        example_file="examples/session.py",
        example_user="chat-betterproto",
        has_session=True,
        package=["parley_betterproto/**/*"],
        is_quick=True,
        environment={"PYTHONPATH": ".:examples"},
    ),
    Language(
        "go",
        (str(BUILD / "go" / "conformance"),),
        example=(str(BUILD / "go" / "chat"),),
        example_file="examples/session/session.go",
        example_user="hello-go",
        has_session=True,
        package=["parley/**/*.go", "*.go"],
        build=[["go", "build", "-o", f"{BUILD / 'go'}/", "./conformance", "./examples/chat"]],
        tools=("go",),
        is_quick=True,
    ),
    Language(
        "typescript",
        ("node", "dist/conformance/main.js"),
        example=("node", "dist/examples/chat.js"),
        example_file="examples/session.ts",
        example_user="hello-typescript",
        has_session=True,
        package=["dist/src/**/*"],
        build=[["../../scripts/client_tools.sh", "typescript"], ["node_modules/.bin/tsc"]],
        tools=("node", "npm"),
        is_quick=True,
    ),
    Language(
        "java",
        (*_JVM, "conformance.Runner"),
        example=(*_JVM, "examples.ChatExample"),
        example_file="examples/Session.java",
        example_user="hello-java",
        has_session=True,
        package=["target/parley-client-*.jar"],
        build=[["mvn", "-q", "-B", "package"]],
        tools=("java", "mvn"),
    ),
    Language(
        "kotlin",
        (*_JVM, "conformance.RunnerKt"),
        example=(*_JVM, "examples.ChatExampleKt"),
        example_file="examples/Session.kt",
        example_user="hello-kotlin",
        has_session=True,
        package=["target/parley-client-kotlin-*.jar"],
        build=[["mvn", "-q", "-B", "package"]],
        tools=("java", "mvn"),
    ),
    Language(
        "rust",
        ("target/release/parley-conformance",),
        example=("target/release/examples/hello",),
        example_file="examples/session.rs",
        example_user="hello-tonic",
        has_session=True,
        package=["src/**/*", "target/release/build/parley-client-*/out/*.rs"],
        build=[
            ["cargo", "build", "--quiet", "--release", "--package", "parley-conformance"],
            ["cargo", "build", "--quiet", "--release", "--example", "hello"],
        ],
        tools=("cargo",),
    ),
    Language(
        "cpp",
        (str(BUILD / "cpp" / "parley_conformance"),),
        example=(str(BUILD / "cpp" / "parley_hello"),),
        example_file="examples/session.h",
        example_user="hello-cpp",
        has_session=True,
        package=["../../build/cpp/libparley_client.a"],
        build=[
            ["../../scripts/googleapis.sh"],
            ["cmake", "-S", ".", "-B", str(BUILD / "cpp"), "-DCMAKE_BUILD_TYPE=Release", "-DPARLEY_CONFORMANCE=ON"],
            ["cmake", "--build", str(BUILD / "cpp"), "--parallel", "2"],
        ],
        tools=("cmake", "c++", "protoc", "grpc_cpp_plugin"),
    ),
    Language(
        "grpcurl",
        (sys.executable, "-m", "conformance"),
        tools=("grpcurl",),
        is_quick=True,
        left_out={
            "newer_client": "it writes what reflection tells it, so it is never newer than the server",
            "newer_server": "that one has no reflection",
            **dict.fromkeys(
                ("authenticate", "resume", "shutdown", "stream_limits", "stream_tokens", "too_large"),
                "it tells of the end of a stream only when its own input has ended",
            ),
        },
    ),
)
