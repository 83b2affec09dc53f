#!/bin/bash
# Spate against llama.cpp on this machine's CPU: same files, same threads, the two programs in turn, medians of ratios.
# llama.cpp is built natively from the PyPI sdist llama-cpp-python; the models are the default one, random weights in the
# shape of Llama-3.2-1B, and what llama-quantize makes of them. Takes about half an hour and 6 GB of disk the first time,
# fifteen minutes after that.
# usage: bench/cpu_vs_llamacpp.sh [THREADS [ROUNDS]]      PEER=DIR: a build of llama.cpp that is there already
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/llamacpp.sh

threads=${1:-$(nproc)} rounds=${2:-5}
[ -x "$PEER/bin/llama-bench" ] || peer_build
[ -x build/release/spate ] || make build
peer_files Q4_0 Q5_0 Q8_0 BF16
peer_random_files Q4_K_M Q5_K_M Q6_K

exec python3 bench/compare_peer.py --spate build/release/spate --peer "$PEER/bin/llama-bench" --models "$work" \
  --threads "$threads" --rounds "$rounds"
