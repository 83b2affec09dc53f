#!/bin/bash
# The op cases on this machine's GPU under compute-sanitizer: accesses out of bounds (memcheck) and shared memory that
# threads touch in no order (racecheck). Tools make kernels a thousand times slower: so each kernel runs few cases, in
# many processes at a time. A line for each: clean, what was found, or that it did not end. Logs go to
# $OUT (results/ unless set).  usage: gpu_sanitize.sh [SECONDS of each, 60 unless given] [TOOL...]
set -uo pipefail
limit=${1:-60} table=${OP_TABLE:-./op_table}; shift $(($# > 0))
export SPATE_BACKEND=cuda limit table out=${OUT:-$PWD/results}/sanitize
mkdir -p "$out"
command -v compute-sanitizer >/dev/null || { echo "SKIPPED: there is no compute-sanitizer here"; exit 77; }

parts=()
for cache in fp32 fp16 bf16 int8 fp8; do parts+=("attend $cache"); done
for scheme in F32 F16 F8 int8 int4 int2 int3 int5 int6; do parts+=("linear $scheme"); done
for family in columns chain range embed sample decode far; do parts+=("$family"); done

check() { # TOOL FAMILY [TEXT]
  local log="$out/$1-$2${3:+-$3}.log" name="$*" tool=$1 start=$SECONDS status found; shift $(($# > 0))
  timeout -k 5 "$limit" compute-sanitizer --tool "$tool" --print-limit 20 "$table" few "$@" >"$log" 2>&1; status=$?
  found=$(sed -n 's/.*SUMMARY: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  case "$status ${found:-?}" in
    "0 0") name="$name: clean" ;;
    124* | 137*) name="$name: DID NOT END" ;;
    *" 0" | *" ?") name="$name: FAILED, $(grep -v '=====' "$log" | tail -n 1)" ;;
    *) name="$name: $found ERRORS" ;;
  esac
  echo "$name ($((SECONDS - start)) s)"
  [[ $name == *clean ]]
}
export -f check
[ $# -gt 0 ] || set -- racecheck memcheck
for tool in "$@"; do
  for part in "${parts[@]}"; do echo "$tool $part"; done
done | xargs -P "$(nproc)" -I{} bash -c 'check {}'
