#!/bin/bash
# Kernel entry points and their bytes, for each kernel set of a build: clones multiply unless watched.
# usage: count_kernels.sh [BUILD]
set -euo pipefail
cd "$(dirname "$0")/.."

objects=$(find "${1:-build/release}" -path '*room_backend.dir*' -name 'kernels_*.o' | sort)
for object in $objects; do
  nm --defined-only --print-size --radix=d "$object" |
    awk -v name="$(basename "$object" .c.o)" '$3 ~ /[tT]/ { n++; bytes += $2 } END { printf "%s: %d functions, %d KB\n", name, n, bytes / 1024 }'
done
