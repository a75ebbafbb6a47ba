#!/bin/sh
# Makes the virtual environment $1 where it is missing or broken, and installs its part $2 (runtime or dev). $3 is a Python;
# $4 is "given" when the caller asks for that very one. Finds a Python that runs environment.py, which does the work.
set -eu
cd "$(dirname "$0")/.."
venv=$1 part=$2 python=$3 given=${4:-}
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONSAFEPATH
enough='import sys; sys.exit(sys.version_info < (3, 11))'

# The environment's own Python is asked first: it stays what it is until another one is named.
if [ -z "$given" ] && "$venv/bin/python" -I -c "$enough" 2>/dev/null; then
  exec "$venv/bin/python" -I scripts/environment.py "$venv" "$part"
fi
# make puts the environment's programs first on PATH, and so does an activated one: a broken one has a broken python3.
own=$(pwd -P)/$venv/bin
while case :$PATH: in *":$own:"*) ;; *) false ;; esac do
  PATH=:$PATH:
  PATH=${PATH%%":$own:"*}:${PATH#*":$own:"}
  PATH=${PATH#:}
  PATH=${PATH%:}
done
if ! command -v "$python" >/dev/null; then
  echo "parley: there is no $python here; install Python 3.11 or newer, or name another one: make PYTHON=python3.12 run" >&2
  exit 1
fi
if ! "$python" -I -S -c "$enough" 2>/dev/null; then
  version=$("$python" -c 'import sys; print(sys.version.split()[0])' 2>&1 | sed -n '/./{p;q;}')
  case $version in
    [0-9]*) echo "parley: Python 3.11 or newer is needed, and $python is $version; name another one: make PYTHON=python3.12 run" ;;
    *) echo "parley: $python does not run ($version); name another Python, 3.11 or newer: make PYTHON=/usr/bin/python3 run" ;;
  esac >&2
  exit 1
fi
exec "$python" -I scripts/environment.py "$venv" "$part"
