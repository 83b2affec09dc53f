#!/bin/bash
# Fuzzers of the preset fuzz, one for each processor at a time: each replays its corpus and goes on for FUZZ_SECONDS (10), or
# until it has had FUZZ_RUNS inputs, of which each processor then takes its share. FUZZ_SEED (not with FUZZ_RUNS): the same
# program and the same build/fuzz/corpus-NAME have the same inputs, as many as the time lets them (0: others each time).
# The seconds that one may take are those of a clock, on a machine that does other things: 60.
# usage: fuzz.sh [TARGET...]   (all of them)
set -uo pipefail
cd "$(dirname "$0")/.."

seeds_of() { # NAME: folders
  echo "tests/fuzz/corpus/$1"
  if [ "$1" = image ]; then echo "tests/fixtures/image/decode tests/fixtures/image/bad"; fi
}

fuzz_one() { # TARGET [SHARE]: edge coverage is in its last line
  local name=${1#fuzz_} log=build/$1${2:+.$2}.log megabytes=2048 bounds=(-max_total_time="${FUZZ_SECONDS:-10}" -seed="${FUZZ_SEED:-0}")
  [ "$name" = image ] && megabytes=1024 # what a helper that decodes may have
  [ -n "${FUZZ_RUNS:-}" ] && bounds=(-runs=$((FUZZ_RUNS / shares)) -seed="$2")
  # shellcheck disable=SC2046 # a word for each folder
  if ! "build/fuzz/tests/fuzz/$1" "${bounds[@]}" -timeout=60 -rss_limit_mb=$megabytes -print_final_stats=1 -artifact_prefix=build/ \
    "build/fuzz/corpus-$name" $(seeds_of "$name") >"$log" 2>&1; then
    echo "$1: FAILED"; tail -n 40 "$log"; return 1
  fi
  echo "$1${2:+, share $2}: $(grep -o 'cov: [0-9]*' "$log" | tail -n 1) edges, $(grep -o 'executed_units: .*' "$log" | grep -o '[0-9]*') inputs, $(grep -o 'slowest_unit_time_sec: .*' "$log" | grep -o '[0-9]*') s the slowest, $(grep -o 'peak_rss_mb: .*' "$log" | grep -o '[0-9]*') MB"
}

targets=("$@")
[ $# = 0 ] && mapfile -t targets < <(find build/fuzz/tests/fuzz -maxdepth 1 -name 'fuzz_*' -type f -executable -printf '%f\n' | sort)
shares=$(nproc)
export shares
export -f fuzz_one seeds_of
if [ -n "${FUZZ_RUNS:-}" ]; then
  for target in "${targets[@]}"; do seq "$shares" | xargs -P "$shares" -I{} bash -c "fuzz_one $target {}" || exit 1; done
else
  printf '%s\n' "${targets[@]}" | xargs -P "$shares" -I{} bash -c 'fuzz_one {}'
fi
