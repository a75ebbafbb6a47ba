#!/bin/sh
# Prints the commit of the last release, or nothing when there is none: that of the tag, or, in a clone without tags,
# the one that gave the version its heading in CHANGELOG.md.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^## \[\([0-9][0-9.]*\)\].*/\1/p' CHANGELOG.md | head -n 1)
[ -n "$version" ] || exit 0
git rev-parse --quiet --verify "v$version^{commit}" && exit 0
git log --reverse --format=%H -S "## [$version]" -- CHANGELOG.md | head -n 1
