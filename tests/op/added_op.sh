#!/bin/bash
# The example of docs/adding-an-op.md: its patch applies to a copy of this tree, builds without a warning, and the op that it adds passes.
# usage: added_op.sh [COPY]   a folder for it, of the same name each time: ccache then knows what it has compiled before
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=${1:-$(mktemp -d)}
trap 'rm -rf "$copy"' EXIT
rm -rf "$copy"
mkdir -p "$copy"
launcher=$(command -v ccache || true)

tar -C "$root" --exclude=./build --exclude=./.git -cf - . | tar -C "$copy" -xf -
cd "$copy"
GIT_CEILING_DIRECTORIES=$(dirname "$copy") git apply docs/adding-an-op.patch
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER_LAUNCHER="$launcher" -DSPATE_TESTS=ON -DSPATE_WERROR=ON -DSPATE_CUDA=OFF >build.log ||
  { cat build.log; exit 1; }
cmake --build build --target op_table -- --quiet
build/tests/op/op_table hadamard | tee result.log
grep -qE '^[1-9][0-9]* passed, 0 failed$' result.log
