#!/usr/bin/env bash
# The limits of this machine's GPU, and decode and prefill of networks with random weights as a fraction of the floor
# that these limits set; then, given a folder with room for 40 GB, serving beside vLLM's figures (gpu_serving.py): tables
# in markdown, for SPEED.md. Fails when one of them does. LINEAR_LARGE in the environment: bench/lab/linear_large.cu,
# built; linears of many tokens are then held against cuBLASLt, and prefill against what that would take.
# usage: bench/gpu.sh SPATE [BENCH_SERVING FOLDER]
set -euo pipefail
usage="usage: bench/gpu.sh SPATE [BENCH_SERVING FOLDER]"
spate=${1:?$usage}
failed=0 errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
part() { # its table, or the sentence that there was instead of it
  "$spate" bench "$@" --device cuda 2>"$errors" || { echo "failed: bench $*: $(tail -n 1 "$errors")"; return 1; }
}
random() { echo; part --random "$@" || failed=1; }
echo "## $(date -u +%Y-%m-%d), $(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)"
part --machine | sed 's/^/    /' || failed=1
random llama-3.1-8b --batch 1 --context 512 --prompt-tokens 0
random llama-3.1-8b --batch 8,32,64,256 --context 1024 --prompt-tokens 2048
printf "\nThe same with --batch-invariant:\n"
random llama-3.1-8b --batch 1,8,32,64,256 --context 1024 --prompt-tokens 2048 --batch-invariant
random llama-3.1-8b --batch 1 --context 32768 --prompt-tokens 0
random llama-2-7b --batch 1 --context 512 --prompt-tokens 0
random llama-2-7b --batch 16 --context 2047 --prompt-tokens 0
random llama-3.2-1b --batch 1 --context 512 --prompt-tokens 0
random qwen3-30b-a3b --batch 1,2,4,8,16 --context 512 --prompt-tokens 0
if [ -n "${LINEAR_LARGE:-}" ]; then
  printf "\nLinears of many tokens beside cuBLASLt, in turn:\n\n"
  linears=$("$LINEAR_LARGE" rates) || failed=1
  echo "$linears"
  whole=$(part --random llama-3.1-8b --batch 1 --context 16 --prompt-tokens 2048) || { failed=1 linears=; echo "$whole"; }
  own=$(awk -F'|' '/prefill/ { print $3 }' <<<"$whole")
  awk -v own="$own" "/cuBLASLt's linears/"' { printf "Prefill of 2,048 tokens of 8B: %.1f ms, %.2f x that (wanted: 1.25)\n", own, own / $(NF - 1) }' <<<"$linears"
fi
if [ $# -gt 1 ]; then
  echo
  python3 "$(dirname "$0")/gpu_serving.py" "${3:?$usage}" --spate "$spate" --bench-serving "$2" || failed=1
fi
exit $failed
