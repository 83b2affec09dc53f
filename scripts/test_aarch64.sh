#!/bin/bash
# Cross-compiles the plan and backend rooms with the op tests for 64-bit Arm and runs them under qemu: the NEON kernels
# against the reference. Third-party libraries are not needed by these rooms. Files are compiled, and families of cases run,
# beside each other, one on each processor.
# usage: test_aarch64.sh [few]
set -euo pipefail
shopt -s extglob
cd "$(dirname "$0")/.."

compiler=aarch64-linux-gnu-gcc
command -v $compiler >/dev/null && command -v qemu-aarch64 >/dev/null ||
  { echo "SKIPPED: $compiler or qemu-aarch64 is not installed"; exit 0; }
folder=build/aarch64
mkdir -p $folder
command -v ccache >/dev/null && compiler="ccache $compiler"

flags="-std=gnu17 -O2 -D_GNU_SOURCE -DSPATE_VERSION=\"0\" -Isrc -Iinclude -Itests -fno-strict-aliasing -ffp-contract=off -Wall -Wextra -Werror"
# what needs CUDA, as a build without it leaves out
absent=$(sed -n 's/.*EXCLUDE REGEX "cuda_(\([a-z_|]*\)).*/\1/p' src/backend/CMakeLists.txt)
sources=()
for source in src/base/{error,buffer,arena,cpu_share,lazy_memory}.c src/plan/*.c src/backend/*.c src/backend/{reference,null,late,cpu,cuda}/*.c tests/op/*.c; do
  case $source in
    */kernels_avx*.c | */row_passes_avx*.c | */kernels_amx.c) continue ;;
    */cuda_@($absent).c) continue ;; # cuda_absent.c stands for them
    tests/op/cuda_*.c) continue ;;
  esac
  sources+=("$source")
done

compile() { # SOURCE
  local extra=; [[ $1 != */kernels_neon.c ]] || extra="-O3 -march=armv8.2-a+dotprod"
  $compiler $flags $extra -c "$1" -o "$folder/$(basename "$1" .c).o"
}

run() { # FAMILY [few]
  local log=$folder/$1.log TIMEFORMAT=%U seconds
  seconds=$({ time SPATE_ISA=neon qemu-aarch64 $folder/op_table ${2:-} "$1" >"$log" 2>&1; } 2>&1) ||
    { cat "$log"; echo "$1: FAILED"; return 1; }
  echo "$1: $(tail -n 1 "$log"), $seconds s of a processor"
}

export compiler folder flags
export -f compile run
rm -f $folder/*.o
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -I{} bash -c 'set -e; compile {}'
aarch64-linux-gnu-gcc -static $folder/*.o -o $folder/op_table -lpthread -lm
# The families of table_run, but for those of a device with a memory of its own.
left='^(hosted|far)$'
families=$(sed -n 's/.*strstr("\([a-z]*\)", only).*/\1/p' tests/op/op_table.c | grep -vE "$left")
[ "$(wc -w <<<"$families")" -ge 15 ] || { echo "tests/op/op_table.c names fewer families than there are: $families"; exit 1; }
printf '%s\n' $families | xargs -P "$(nproc)" -I{} bash -c "run {} ${1:-}"
