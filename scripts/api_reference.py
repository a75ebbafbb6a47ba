"""Writes the API reference, docs/api.md, from the comments of proto/: python scripts/api_reference.py [FILE].

It reads what protoc makes of the protos, so it is as complete as they are: every method, message, field, enum and value
has its comment there. `make generate` writes it; `scripts/check_contract.sh` says when it is not what the protos say.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb

_ROOT = Path(__file__).parents[1]
_PACKAGE = ".parley.v1."
_TYPES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in pb.FieldDescriptorProto.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}
_REPEATED = pb.FieldDescriptorProto.LABEL_REPEATED
# Tags of the descriptors' own fields, of which the paths of comments are made.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM, _MESSAGE_ONEOF = 2, 3, 4, 8
_ENUM_VALUE = _SERVICE_METHOD = 2
_HEAD = """# API reference

All of `parley.v1`, from the comments of `proto/parley/v1/`, which are the contract; `make generate` writes this page
anew. [clients.md](clients.md) says how a client uses it; [errors.md](errors.md) has the reasons, with their status
codes.
"""


class _Comments:
    """The comments of one file, by path."""

    def __init__(self, file: pb.FileDescriptorProto) -> None:
        self._texts = {tuple(item.path): item.leading_comments for item in file.source_code_info.location}

    def at(self, path: tuple[int, ...]) -> str:
        """A comment as Markdown: paragraphs stay, lines are joined."""
        text = "\n".join(line.strip() for line in self._texts.get(path, "").splitlines())
        return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")).strip()


def _files() -> Sequence[pb.FileDescriptorProto]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "set"
        names = sorted(str(file.relative_to(_ROOT / "proto")) for file in (_ROOT / "proto" / "parley").rglob("*.proto"))
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", "-I", "build/googleapis"]
        subprocess.run(
            [*command, "--include_source_info", f"--descriptor_set_out={path}", *names], cwd=_ROOT, check=True
        )
        return pb.FileDescriptorSet.FromString(path.read_bytes()).file


def _anchor(name: str) -> str:
    return name.lower().replace(".", "")


def _linked(full_name: str) -> str:
    name = full_name.removeprefix(_PACKAGE)
    return f"[{name}](#{_anchor(name)})" if name != full_name else f"`{full_name.removeprefix('.')}`"


def _cell(text: str) -> str:
    return text.replace("\n\n", "<br>").replace("|", "\\|")


def _service(file: pb.FileDescriptorProto, comments: _Comments) -> Iterator[str]:
    for number, service in enumerate(file.service):
        path = (_FILE_SERVICE, number)
        yield f"## {service.name}\n\n{comments.at(path)}\n\n| call | request | answer | |\n|---|---|---|---|"
        for index, method in enumerate(service.method):
            request = "stream of " * method.client_streaming + _linked(method.input_type)
            answer = "stream of " * method.server_streaming + _linked(method.output_type)
            text = comments.at((*path, _SERVICE_METHOD, index))
            yield f"| {method.name} | {request} | {answer} | {_cell(text)} |"
        yield ""


def _messages(
    messages: Sequence[pb.DescriptorProto], comments: _Comments, path: tuple[int, ...], outer: str
) -> Iterator[str]:
    for number, message in enumerate(messages):
        if message.options.map_entry:
            continue
        here, name = (*path, number), f"{outer}{message.name}"
        yield f"### {name}\n\n{comments.at(here)}\n"
        yield from _fields(message, comments, here)
        yield from _enums(message.enum_type, comments, (*here, _MESSAGE_ENUM), f"{name}.")
        yield from _messages(message.nested_type, comments, (*here, _MESSAGE_NESTED), f"{name}.")


def _fields(message: pb.DescriptorProto, comments: _Comments, path: tuple[int, ...]) -> Iterator[str]:
    if not message.field:
        return
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    yield "| field | | type | |\n|---|---|---|---|"
    for number, field in enumerate(message.field):
        kind = _TYPES.get(field.type) or _linked(field.type_name)
        entry = maps.get(field.type_name.rpartition(".")[2])
        if entry is not None:
            kind = f"map of {_TYPES[entry.field[0].type]} to {_TYPES[entry.field[1].type]}"
        elif field.label == _REPEATED:
            kind = f"repeated {kind}"
        elif field.proto3_optional:
            kind = f"optional {kind}"
        elif field.HasField("oneof_index"):
            kind = f"{kind}, one of `{message.oneof_decl[field.oneof_index].name}`"
        yield f"| `{field.name}` | {field.number} | {kind} | {_cell(comments.at((*path, _MESSAGE_FIELD, number)))} |"
    yield ""
    for number, oneof in enumerate(message.oneof_decl):
        if text := comments.at((*path, _MESSAGE_ONEOF, number)):
            yield f"`{oneof.name}`: {text}\n"


def _enums(
    enums: Sequence[pb.EnumDescriptorProto], comments: _Comments, path: tuple[int, ...], outer: str
) -> Iterator[str]:
    for number, enum in enumerate(enums):
        here = (*path, number)
        yield f"### {outer}{enum.name}\n\n{comments.at(here)}\n\n| value | | |\n|---|---|---|"
        for index, value in enumerate(enum.value):
            yield f"| `{value.name}` | {value.number} | {_cell(comments.at((*here, _ENUM_VALUE, index)))} |"
        yield ""


def _page() -> Iterator[str]:
    files = _files()
    yield _HEAD
    for file in files:
        yield from _service(file, _Comments(file))
    for file in files:
        if not file.service:
            comments, area = _Comments(file), Path(file.name).stem.replace("_", " ").capitalize()
            yield f"## {area}\n\n`{file.name}`\n"
            yield from _messages(file.message_type, comments, (_FILE_MESSAGE,), "")
            yield from _enums(file.enum_type, comments, (_FILE_ENUM,), "")


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else _ROOT / "docs" / "api.md").write_text(
        "\n".join(_page()).rstrip() + "\n", encoding="utf-8"
    )
