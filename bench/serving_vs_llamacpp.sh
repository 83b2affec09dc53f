#!/bin/bash
# Spate's server against llama.cpp's on this machine's CPU: one script loads both, same machine, same threads, the
# default model. 32 clients in a closed loop, then 32 clients that share a document of 2,000 tokens. The peer is taken at
# its best over -np and over its Q4_0 and Q4_1 files. The same load without HTTP is measured beside it.
# usage: bench/serving_vs_llamacpp.sh [THREADS [ROUNDS]]      PEER=DIR: a build of llama.cpp with llama-server
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/llamacpp.sh

threads=${1:-$(nproc)} rounds=${2:-3}
[ -x "$PEER/bin/llama-server" ] || peer_build
[ -x build/release/bench/bench_serving ] || cmake --build --preset release --target bench_serving spate
peer_files Q4_0
build/release/bench/bench_serving "$work/Q4_1.gguf" -t "$threads"
exec python3 bench/compare_serving.py --spate build/release/spate --peer "$PEER/bin/llama-server" --models "$work" \
  --threads "$threads" --rounds "$rounds"
