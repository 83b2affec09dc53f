#!/bin/bash
# The AVX-512 kernels against the reference on a machine that lacks them: the op tests with SIMDe (libsimde-dev) in place of
# the instructions. What it cannot show is that a real machine has every instruction that the kernel set asks for.
# Needs a release build. usage: scripts/test_avx512.sh [part of an op's name]
set -euo pipefail
cd "$(dirname "$0")/.."

echo '#include <simde/x86/avx512.h>' | cc -fsyntax-only -xc - 2>/dev/null || { echo "SKIPPED: libsimde-dev is not installed"; exit 0; }
[ -x build/release/tests/op/op_table ] || { echo "build/release has no op tests: make build first" >&2; exit 1; }
folder=build/avx512
mkdir -p $folder
cc -std=gnu17 -O1 -D_GNU_SOURCE -Itests/op/avx512 -Isrc -Iinclude -mavx2 -mfma -mf16c -fno-strict-aliasing -ffp-contract=off -Wno-psabi \
  '-D__builtin_cpu_supports(feature)=1' -c src/backend/cpu/kernels_avx512.c -o $folder/kernels_avx512.o
rooms=build/release/src
cc -Wl,--allow-multiple-definition build/release/tests/op/CMakeFiles/op_table.dir/*.o $folder/kernels_avx512.o \
  $rooms/backend/libroom_backend.a $rooms/libroom_plan.a $rooms/libroom_base.a -lm -lxxhash -ljansson -lpthread -o $folder/op_table
SPATE_ISA=avx512 $folder/op_table "$@"
