#!/bin/sh
# Runs tests on every other Python from 3.11 on that is installed here, each in an environment of its own in build/.
# A part that leans on Python itself, and a few minutes long: settings, logs, accounts, processes and signals, streams,
# what is embedded. `make test-pythons` runs it; all of the tests on one: `make PYTHON=python3.13 test`.
set -eu
cd "$(dirname "$0")/.."
here=$(python -c 'import sys; print(sys.version_info[1])')
for minor in 11 12 13 14; do
  python=python3.$minor
  if [ "$minor" = "$here" ]; then continue; fi
  # pyenv has a program of that name also where the version that it would run is not chosen.
  if ! "$python" -c '' 2>/dev/null; then
    for place in "$HOME"/.pyenv/versions/3."$minor".*/bin/python; do
      [ -x "$place" ] && python=$place
    done
  fi
  if ! "$python" -c '' 2>/dev/null; then
    echo "test-pythons: there is no Python 3.$minor here, so nothing is tried on it"
    continue
  fi
  venv=build/venv-3.$minor
  make --no-print-directory VENV="$venv" PYTHON="$python" "$venv/.dev"
  echo "Python 3.$minor:"
  "$venv/bin/python" -m pytest -q -n 2 --dist loadfile -p no:cacheprovider \
    tests/cli tests/convert tests/domain tests/host tests/settings tests/worker tests/auth tests/metrics \
    tests/ops/test_serve.py tests/ops/test_reload.py tests/ops/test_killed.py \
    tests/rpc/test_chat.py tests/rpc/test_send.py tests/rpc/test_health.py tests/rpc/test_worker_ends.py \
    tests/storage/test_database.py tests/storage/test_embedded.py tests/storage/test_bus.py tests/storage/test_presence.py
done
