#!/usr/bin/env bash
# The limits of this machine's GPU, and decode and prefill of networks with random weights as a fraction of the floor
# that these limits set: tables in markdown, for SPEED.md.  usage: bench/gpu.sh SPATE
set -eu
spate=${1:?usage: bench/gpu.sh SPATE}
echo "## $(date -u +%Y-%m-%d), $(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)"
"$spate" bench --machine --device cuda 2>/dev/null | sed 's/^/    /'
part() { echo; "$spate" bench --random "$@" --device cuda 2>/dev/null || echo "failed: $*"; }
part llama-3.1-8b --batch 1 --context 512 --prompt-tokens 0
part llama-3.1-8b --batch 8,32,64,256 --context 1024 --prompt-tokens 2048
part llama-3.1-8b --batch 1 --context 32768 --prompt-tokens 0
part llama-2-7b --batch 1 --context 512 --prompt-tokens 0
part llama-2-7b --batch 16 --context 2047 --prompt-tokens 0
part llama-3.2-1b --batch 1 --context 512 --prompt-tokens 0
