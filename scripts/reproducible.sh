#!/bin/sh
# Builds the program, the library, their documents and the Debian package of the last commit twice, in two folders and at
# two times, and compares them byte for byte.
# usage: reproducible.sh
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH CCACHE_DISABLE=1
unset CMAKE_C_COMPILER_LAUNCHER

build() { # FOLDER
  mkdir -p "$1"
  git archive "$commit" | tar -x -C "$1"
  cd "$1"
  { cmake --preset release -DSPATE_CUDA=OFF -DSPATE_TESTS=OFF && cmake --build --preset release --target spate libspate documents &&
    (cd build/release && cpack); } >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
}

(build "$work/one")
(build "$work/another/longer")
for file in spate libspate.so.0.1.0 spate.spdx.json packages/spate_0.1.0_amd64.deb; do
  one="$work/one/build/release/$file" another="$work/another/longer/build/release/$file"
  cmp "$one" "$another" || { echo "$file differs between two builds of one commit." >&2; exit 1; }
  echo "$(sha256sum <"$one" | cut -c 1-64)  $file"
done
