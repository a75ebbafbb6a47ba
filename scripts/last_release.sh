#!/bin/sh
# Prints the commit of the last release before this one, or nothing when there is none: that of its tag, or, in a clone
# without tags, the one that gave the version its heading in CHANGELOG.md. A release is held against the one before it;
# only the first one, which has none, against itself. With a version as argument: the commit of that one.
set -eu
cd "$(dirname "$0")/.."

# Prints the commit of version $1, if it is out.
commit_of() {
  if [ -n "$(git tag --list 'v*')" ]; then
    git rev-parse --quiet --verify "refs/tags/v$1^{commit}" || true
  else
    git log --reverse --format=%H -S "## [$1]" -- CHANGELOG.md | head -n 1
  fi
}

if [ $# -gt 0 ]; then
  commit_of "$1"
  exit
fi
here=$(git rev-parse --quiet --verify HEAD) || exit 0
first=
for version in $(sed -n 's/^## \[\([0-9][0-9.]*\)\].*/\1/p' CHANGELOG.md); do
  commit=$(commit_of "$version")
  case $commit in
  '') ;;
  "$here") first=$commit ;;
  *)
    echo "$commit"
    exit 0
    ;;
  esac
done
echo "$first"
