#!/bin/bash
# The example of docs/adding-an-op.md: its patch applies to a copy of this tree, builds without a warning, and the op that it adds passes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
launcher=$(command -v ccache || true)

tar -C "$root" --exclude=./build --exclude=./.git -cf - . | tar -C "$copy" -xf -
cd "$copy"
git apply docs/adding-an-op.patch
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER_LAUNCHER="$launcher" -DSPATE_TESTS=ON -DSPATE_WERROR=ON -DSPATE_CUDA=OFF >build.log ||
  { cat build.log; exit 1; }
cmake --build build --target op_table -- --quiet
build/tests/op/op_table hadamard | tee result.log
grep -qE '^[1-9][0-9]* passed, 0 failed$' result.log
