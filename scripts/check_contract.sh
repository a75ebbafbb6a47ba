#!/bin/sh
# Checks the contract (`make lint-proto`): lint, format, breaking changes, and that the stubs in clients/ are those that
# generating gives. Needs the virtual environment's programs first on PATH; fetches nothing, once client_tools.sh has what
# Go and TypeScript need, and writes only to build/.
set -eu
cd "$(dirname "$0")/.."

fail() {
  echo "check_contract: $1" >&2
  exit 1
}

# Prints the commit whose contract this one must not break, if there is one: where this branch left main (in a clone
# without main: its own commit). For main itself, unchanged, the commit before.
previous_commit() {
  for name in main origin/main HEAD; do
    tip=$(git rev-parse --quiet --verify "$name^{commit}") && break
  done
  [ -n "$tip" ] || return 0
  commit=$(git merge-base HEAD "$tip" 2>/dev/null) || commit=$tip
  if [ "$commit" = "$(git rev-parse HEAD)" ] && git diff --quiet HEAD -- proto &&
    [ -z "$(git ls-files --others --exclude-standard -- proto)" ]; then
    commit=$(git rev-parse --quiet --verify "$commit~1") || return 0
  fi
  # The last one that has a contract: proto/ may have gone and come.
  for candidate in "$commit" $(git rev-list "$commit" -- proto); do
    if git cat-file -e "$candidate:proto" 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
}

check_breaking() {
  if [ ! -e .git ]; then
    echo "check_contract: no git history here, so breaking changes were not looked for"
    return 0
  fi
  git rev-parse --git-dir >/dev/null || fail "git can't read this repository"
  previous=$(previous_commit)
  if [ -z "$previous" ]; then
    echo "check_contract: no earlier commit with a contract, so nothing can be broken yet"
    return 0
  fi
  rm -rf build/previous
  mkdir -p build/previous/build
  git archive "$previous" proto | tar -x -C build/previous
  cp buf.yaml build/previous/
  cp -R build/googleapis build/previous/build/
  buf breaking --against build/previous ||
    fail "the contract breaks clients that were built against commit $(git rev-parse --short "$previous"); add instead of changing"
}

check_stubs() {
  rm -rf build/generated
  scripts/generate.sh build/generated >build/generate.log 2>&1 || {
    cat build/generate.log >&2
    fail "no stubs can be generated from proto/"
  }
  for stubs in python/parley python-betterproto/parley_betterproto go/parley typescript/src/gen; do
    if [ ! -e "build/generated/clients/$stubs" ]; then # generate.sh fails by itself where that must not be
      grep "^client_tools: clients/${stubs%%/*} " build/generate.log
      echo "check_contract: so the stubs in clients/$stubs were not looked at"
      continue
    fi
    diff -rq -x __pycache__ "clients/$stubs" "build/generated/clients/$stubs" ||
      fail "clients/$stubs is not what proto/ gives: run \`make generate\` and commit all of it; stubs are never edited"
  done
}

# TypeScript's stubs are one package, whose index is written by hand.
check_index() {
  for proto in proto/parley/v1/*.proto; do
    grep -q "/$(basename "$proto" .proto).js" clients/typescript/src/index.ts ||
      fail "clients/typescript/src/index.ts does not export what $proto gives"
  done
}

scripts/googleapis.sh
buf lint || fail "the contract does not compile or breaks a lint rule of buf.yaml"
buf format -d --exit-code proto || fail "the contract is not formatted: run \`make format\`"
check_breaking
check_stubs
check_index
