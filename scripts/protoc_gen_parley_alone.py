"""A protoc plugin that hands only Parley's own files to another one, whose command is its arguments.

For languages that have google/rpc as a package, while others of `buf.gen.yaml` need it generated along.
"""

import subprocess
import sys

from google.protobuf.compiler import plugin_pb2

request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
own = [name for name in request.file_to_generate if name.startswith("parley/")]
del request.file_to_generate[:]
request.file_to_generate.extend(own)
if own:
    sys.exit(subprocess.run(sys.argv[1:], input=request.SerializeToString(), check=False).returncode)
