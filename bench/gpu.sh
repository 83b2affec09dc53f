#!/usr/bin/env bash
# The limits of this machine's GPU, and decode and prefill of networks with random weights as a fraction of the floor
# that these limits set: tables in markdown, for SPEED.md. Fails when one of them does.  usage: bench/gpu.sh SPATE
set -euo pipefail
spate=${1:?usage: bench/gpu.sh SPATE}
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
exit $failed
