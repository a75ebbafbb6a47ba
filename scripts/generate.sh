#!/bin/sh
# Generates all stubs from proto/ into clients/ (or the directory that is given), from installed packages alone.
# `make generate` runs it, with the virtual environment's programs first on PATH. google/rpc stays an import of its own
# for grpcio (the installed package has it) and is generated along for betterproto, which has no package of it.
set -eu
cd "$(dirname "$0")/.."
scripts/googleapis.sh
out=${1:-clients}
protos=$(cd proto && find parley -name '*.proto' | sort)

python_out=$out/python
rm -rf "$python_out/parley"
mkdir -p "$python_out"
# shellcheck disable=SC2086 # the list is meant to be split
python -m grpc_tools.protoc -I proto -I build/googleapis \
  --python_out="$python_out" --pyi_out="$python_out" --grpc_python_out="$python_out" --mypy_grpc_out="$python_out" $protos
touch "$python_out/parley/__init__.py" "$python_out/parley/v1/__init__.py" "$python_out/parley/py.typed"
# Services only: the other files' gRPC stubs are empty.
find "$python_out/parley" -name '*_pb2_grpc.py*' ! -name 'chat_service_*' -delete

betterproto_out=$out/python-betterproto/parley_betterproto
rm -rf "$betterproto_out"
mkdir -p "$betterproto_out"
# shellcheck disable=SC2086
python -m grpc_tools.protoc -I proto -I build/googleapis \
  --python_betterproto_out="$betterproto_out" $protos google/rpc/status.proto google/rpc/error_details.proto
touch "$betterproto_out/__init__.py" "$betterproto_out/py.typed"
