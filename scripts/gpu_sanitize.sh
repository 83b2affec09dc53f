#!/bin/bash
# The op cases on this machine's GPU under compute-sanitizer: accesses out of bounds (memcheck) and shared memory that
# threads touch in no order (racecheck), which makes kernels a thousand times slower. So each kernel runs in few cases,
# and some processes run at a time: more of them wait for the GPU. A line for each: clean, what was found, or that it
# did not end. Logs go to $OUT (results/ unless set).
#   usage: [JOBS=4] [OP_TABLE=./op_table] gpu_sanitize.sh [SECONDS of each, 120 unless given] [memcheck|racecheck]
set -uo pipefail
export limit=${1:-120} table=${OP_TABLE:-./op_table} out=${OUT:-$PWD/results}/sanitize SPATE_BACKEND=cuda
mkdir -p "$out"
command -v compute-sanitizer >/dev/null || { echo "SKIPPED: there is no compute-sanitizer here"; exit 77; }

parts=()
for cache in fp16 bf16 int8 fp8 fp32; do parts+=("attend $cache"); done
for family in columns range embed head sample decode far; do parts+=("$family"); done
for scheme in F32 BF16; do parts+=("experts $scheme" "mixture $scheme"); done
parts+=(texts)
for scheme in F16 F8 int8 int4; do parts+=("chain $scheme"); done
for scheme in F8 int8 F32 int2 int3 int5 int6; do parts+=("linear $scheme"); done
for scheme in F32 BF16 int4 int8 F8; do parts+=("adapter $scheme"); done
shares=20 # of other linears under racecheck, which takes a minute for a step of 600 tokens

check() { # TOOL FAMILY [TEXT [SHARE]]
  local name="$*" tool=$1 log status found start=$SECONDS; shift
  log=${name// /-} log="$out/${log//\//of}.log"
  timeout -k 5 "$limit" compute-sanitizer --tool "$tool" --print-limit 20 "$table" few "$@" >"$log" 2>&1; status=$?
  found=$(sed -n 's/.*SUMMARY: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  case "$status ${found:-none}" in
    "0 0") name="$name: clean" ;;
    124* | 137*) name="$name: DID NOT END" ;;
    "0 "[1-9]*) name="$name: $found FOUND" ;;
    *) name="$name: FAILED, $(grep -v ===== "$log" | tail -n 1)" ;; # of the cases, or of the tool
  esac
  echo "$name ($((SECONDS - start)) s)"
  [[ $name == *clean ]]
}
export -f check
for tool in ${2:-memcheck racecheck}; do
  for part in "${parts[@]}"; do echo "$tool $part"; done
  n=1; [ "$tool" = memcheck ] || n=$shares
  for share in $(seq "$n"); do printf '%s\n' "$tool linear F16 $share/$n" "$tool linear int4 $share/$n"; done
done | xargs -P "${JOBS:-4}" -I{} bash -c 'check {}'
