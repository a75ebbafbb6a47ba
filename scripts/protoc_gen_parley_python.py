"""A protoc plugin that writes Python's stubs: messages, services, and the types of both. `buf.gen.yaml` calls it.

grpcio-tools has these generators only inside its own protoc, so this hands what buf asks for to that one. buf's own way
to do so (`protoc_path`) knows no gRPC stubs, and lets every field's JSON name into the embedded descriptors, which
protoc leaves out where it is the default.
"""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from grpc_tools import protoc


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Returns the stubs of the wanted files; `error` when protoc fails, which says why on standard error."""
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    wanted = list(request.file_to_generate)
    # The gRPC stubs of files without a service would be empty.
    with_services = [file.name for file in request.proto_file if file.name in set(wanted) and file.service]
    for file in request.proto_file:
        _clear_default_json_names(file.message_type)
    with tempfile.TemporaryDirectory() as directory:
        descriptors, out = Path(directory, "descriptors"), Path(directory, "out")
        descriptors.write_bytes(descriptor_pb2.FileDescriptorSet(file=request.proto_file).SerializeToString())
        out.mkdir()
        for plugins, names in ((("python", "pyi"), wanted), (("grpc_python", "mypy_grpc"), with_services)):
            outs = [f"--{plugin}_out={out}" for plugin in plugins]
            if names and protoc.main(["protoc", f"--descriptor_set_in={descriptors}", *outs, *names]) != 0:
                response.error = f"protoc could not write {' and '.join(plugins)}"
                return response
        for path in sorted(out.rglob("*.py*")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    return response


def _clear_default_json_names(messages: Iterable[descriptor_pb2.DescriptorProto]) -> None:
    for message in messages:
        _clear_default_json_names(message.nested_type)
        for field in message.field:
            first, *others = field.name.split("_")
            if field.json_name == first + "".join(word[:1].upper() + word[1:] for word in others):
                field.ClearField("json_name")


if __name__ == "__main__":
    answer = generate(plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(answer.SerializeToString())
