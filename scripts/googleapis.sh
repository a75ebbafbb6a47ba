#!/bin/sh
# Copies the google/rpc protos of the installed googleapis-common-protos package to build/googleapis, where buf and
# protoc look for them. The package is the virtual environment's, where there is one.
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
mkdir -p build/googleapis/google/rpc
package=$(python -c 'import google.rpc, pathlib; print(pathlib.Path(list(google.rpc.__path__)[0]))')
for name in status error_details; do
  cp "$package/$name.proto" build/googleapis/google/rpc/
done
