#!/bin/bash
# Fuzzers of the preset fuzz, one for each processor at a time: each replays its corpus and goes on, for FUZZ_SECONDS (10)
# and from another seed each time; until it has had FUZZ_RUNS inputs, of which each processor takes its share; or, with
# FUZZ_SAME=1, through inputs_of it, which are the same ones on whatever machine, as no clock, load, order of a folder's
# files or corpus of an earlier run has a say (nearly: places that the address sanitizer draws for memory, and the name
# of fuzz_packed's folder, are among what inputs are made of). The seconds that one input may take are those of a clock,
# on a machine that does other things: 60. What a target failed on is in build/, and printed last.
# usage: fuzz.sh [TARGET...]   (all of them)
set -uo pipefail
cd "$(dirname "$0")/.."

seeds_of() { # NAME: folders
  echo "tests/fuzz/corpus/$1"
  if [ "$1" = image ]; then echo "tests/fixtures/image/decode tests/fixtures/image/bad"; fi
}

inputs_of() { # NAME: how many take some seconds
  case $1 in
    chat_template | config | eval_task | image | plan | request) echo 10000 ;;
    calibration_journal | embed | folds | gguf | http_head | hub | load_answer | safetensors | url) echo 200000 ;;
    *) echo 30000 ;;
  esac
}

# shellcheck disable=SC2046 # a word for each folder
fuzz_one() { # TARGET [SHARE]: edge coverage is in its last line
  local name=${1#fuzz_} log=build/$1${2:+.$2}.log megabytes=2048 where=() what=()
  [ "$name" = image ] && megabytes=1024 # what a helper that decodes may have
  if [ -n "${FUZZ_RUNS:-}" ]; then
    what=(-runs=$((FUZZ_RUNS / shares)) -seed="$2" "build/fuzz/corpus-$name" $(seeds_of "$name"))
  elif [ "${FUZZ_SAME:-0}" = 1 ]; then
    local work=build/fuzz/same-$name
    rm -rf "$work" && mkdir -p "$work"
    find $(seeds_of "$name") -type f | LC_ALL=C sort | paste -sd, | tr -d '\n' >"$work.seeds"
    setarch -R true 2>/dev/null && where=(setarch -R) # a container may not let it
    what=(-runs="$(inputs_of "$name")" -seed=1 -reload=0 -seed_inputs="@$work.seeds" "$work")
  else
    what=(-max_total_time="${FUZZ_SECONDS:-10}" "build/fuzz/corpus-$name" $(seeds_of "$name"))
  fi
  rm -f "$log.failed"
  if ! "${where[@]}" "build/fuzz/tests/fuzz/$1" -timeout=60 -rss_limit_mb=$megabytes -print_final_stats=1 -artifact_prefix=build/ \
    "${what[@]}" >"$log" 2>&1; then
    echo "$1: FAILED"; mv "$log" "$log.failed"; return 1
  fi
  echo "$1${2:+, share $2}: $(grep -o 'cov: [0-9]*' "$log" | tail -n 1) edges, $(grep -o 'executed_units: .*' "$log" | grep -o '[0-9]*') inputs, $(grep -o 'slowest_unit_time_sec: .*' "$log" | grep -o '[0-9]*') s the slowest, $(grep -o 'peak_rss_mb: .*' "$log" | grep -o '[0-9]*') MB"
}

failures_show() { # of the targets that failed: a small input whole, and the end of what they printed
  local log unit
  for log in build/fuzz_*.log.failed; do
    [ -f "$log" ] || continue
    echo "--- $log"
    unit=$(grep -o 'Test unit written to .*' "$log" | tail -n 1 | cut -d ' ' -f 5)
    if [ -s "$unit" ] && [ "$(stat -c %s "$unit")" -le 2048 ]; then echo "$unit in base64:"; base64 -w 160 "$unit"; fi
    tail -n 40 "$log" | cut -c 1-300
  done
}

targets=("$@")
[ $# = 0 ] && mapfile -t targets < <(find build/fuzz/tests/fuzz -maxdepth 1 -name 'fuzz_*' -type f -executable -printf '%f\n' | sort)
[ -n "${targets[0]:-}" ] || { echo "fuzz.sh: there are no fuzzers in build/fuzz: build the preset fuzz first." >&2; exit 1; }
shares=$(nproc)
failed=0
rm -f build/fuzz_*.log.failed
export shares
export -f fuzz_one seeds_of inputs_of
if [ -n "${FUZZ_RUNS:-}" ]; then
  for target in "${targets[@]}"; do seq "$shares" | xargs -P "$shares" -I{} bash -c "fuzz_one $target {}" || failed=1; done
else
  printf '%s\n' "${targets[@]}" | xargs -P "$shares" -I{} bash -c 'fuzz_one {}' || failed=1
fi
failures_show
exit "$failed"
