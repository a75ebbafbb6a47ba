#!/bin/sh
# Generates the committed stubs from proto/ into clients/ (or DIR/clients/, when DIR is given): what buf.gen.yaml and
# buf.gen.rpc.yaml say. `make generate` runs it, with the virtual environment's programs first on PATH. Stubs of a
# language that is absent here are left as they are, and a line says so; with CI set that is a failure.
set -eu
cd "$(dirname "$0")/.."
out=${1:-.}
scripts/googleapis.sh

absent=
for client in go typescript; do
  status=0
  scripts/client_tools.sh "$client" || status=$?
  case $status in
  0) ;;
  3)
    [ -z "${CI:-}" ] || exit 1
    absent="$absent $client"
    echo "generate: so its stubs are left as they are" >&2
    ;;
  *) exit "$status" ;;
  esac
done

rm -rf "$out/clients/python/parley" "$out/clients/python-betterproto/parley_betterproto"
case $absent in *go*) ;; *) rm -rf "$out/clients/go/parley" ;; esac
case $absent in *typescript*) ;; *) rm -rf "$out/clients/typescript/src/gen" ;; esac
for template in buf.gen.yaml buf.gen.rpc.yaml; do
  # shellcheck disable=SC2086 # the list is meant to be split
  buf generate --template "$(python scripts/buf_template.py "$template" $absent)" -o "$out"
done
# What makes packages of the stubs' folders, with types.
python=$out/clients/python/parley betterproto=$out/clients/python-betterproto/parley_betterproto
touch "$python/__init__.py" "$python/v1/__init__.py" "$python/py.typed" "$betterproto/py.typed"
