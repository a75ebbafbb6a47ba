#!/bin/sh
# Installs what generating and building a client needs besides Python: `scripts/client_tools.sh go` (or typescript).
# Pinned by the client's lock files; does nothing, and asks no network, when these are what was installed last. Exit
# status 3: the language itself is absent here; the line on standard error says so.
set -eu
cd "$(dirname "$0")/.."

absent() {
  echo "client_tools: clients/$1 needs $2, which is not installed here" >&2
  exit 3
}

install_go() {
  command -v go >/dev/null || absent go Go
  lock=clients/go/tools/go.sum
  [ -x build/tools/protoc-gen-go ] && [ -x build/tools/protoc-gen-go-grpc ] && cmp -s "$lock" build/tools/go.sum &&
    return 0
  mkdir -p build/tools
  (cd clients/go/tools && go build -o ../../../build/tools/ tool)
  cp "$lock" build/tools/go.sum
}

install_typescript() {
  command -v npm >/dev/null || absent typescript Node.js
  lock=clients/typescript/package-lock.json
  installed=clients/typescript/node_modules/.installed-lock.json
  cmp -s "$lock" "$installed" && return 0
  (cd clients/typescript && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp "$lock" "$installed"
}

case ${1:-} in
go) install_go ;;
typescript) install_typescript ;;
*)
  echo "usage: scripts/client_tools.sh go|typescript" >&2
  exit 2
  ;;
esac
