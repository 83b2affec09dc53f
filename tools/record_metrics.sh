#!/bin/sh
# Records what real servers of the default model answer to /metrics under known loads, without vLLM's names:
#   tools/record_metrics.sh build/release/spate tests/fixtures/doctor
# The times in them are the machine's; tests/unit/doctor/test_doctor_rules.c has what is to be found in each.
set -eu
spate=$1 folder=$2
model=$(scripts/get_model.sh)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
"$spate" build "$model" -o "$work/long.spate"
"$spate" build "$model" -o "$work/two.spate" --max-batch-size 2 --max-seq-len 2048
"$spate" build "$model" -o "$work/short.spate" --max-seq-len 512

record() { # NAME ENGINE OPTIONS_OF_SERVE OPTIONS_OF_LOAD
  # shellcheck disable=SC2086 # options are words
  "$spate" serve "$work/$2" --port 8770 $3 >/dev/null 2>&1 &
  server=$!
  i=0
  until "$spate" health --port 8770 >/dev/null 2>&1; do i=$((i + 1)); [ $i -lt 100 ]; sleep 0.1; done
  # shellcheck disable=SC2086
  timeout 300 "$spate" bench-serve http://127.0.0.1:8770 $4 >/dev/null || true
  curl -s http://127.0.0.1:8770/metrics | grep -v vllm: >"$folder/$1.txt"
  kill $server
  wait $server
}

record quiet long.spate "--kv-cache-memory 256M" "--clients 1 --requests 25 --input-tokens 40 --output-tokens 20"
record seats two.spate "--kv-cache-memory 128M" "--clients 24 --requests 48 --input-tokens 60 --output-tokens 40"
record blocks short.spate "--kv-cache-memory 20M" "--clients 16 --requests 48 --input-tokens 100 --output-tokens 150"
record busy two.spate "--kv-cache-memory 128M --max-queue 2" "--clients 24 --requests 100 --input-tokens 20 --output-tokens 10"
record prompts long.spate "--kv-cache-memory 512M --no-enable-block-reuse" \
  "--clients 8 --requests 32 --input-tokens 900 --output-tokens 8"
