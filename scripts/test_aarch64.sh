#!/bin/bash
# Cross-compiles the plan and backend rooms with the op tests for 64-bit Arm and runs them under qemu: the NEON kernels
# against the reference. Third-party libraries are not needed by these rooms.
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
objects=()
for source in src/base/{error,buffer,arena,cpu_share,lazy_memory}.c src/plan/*.c src/backend/*.c src/backend/{reference,null,late,cpu,cuda}/*.c tests/op/*.c; do
  case $source in
    */kernels_avx*.c | */row_passes_avx*.c | */kernels_amx.c) continue ;;
    */cuda_@(adapted|adapter|apart|attention|compile|device|draw|each|experts|graph|hosted|image|linear|matrix|memory|mixture|paths|pool|pool_rows|random|rates|rows|rules|send|step|upload).c) continue ;; # cuda_absent.c stands for them
    tests/op/cuda_*.c) continue ;;
    */kernels_neon.c) extra="-O3 -march=armv8.2-a+dotprod" ;;
    *) extra="" ;;
  esac
  object=$folder/$(basename "$source" .c).o
  $compiler $flags $extra -c "$source" -o "$object"
  objects+=("$object")
done
aarch64-linux-gnu-gcc -static "${objects[@]}" -o $folder/op_table -lpthread -lm
SPATE_ISA=neon qemu-aarch64 $folder/op_table "$@"
