#!/bin/bash
# From a picture to the first token on this machine's CPU: `spate serve` against llama.cpp's llama-mtmd-cli, on one GGUF pair of
# SmolVLM-256M's shape with random weights, by turns. EDGE: as in bench/random_vision_pair.py, 1024 is 5 tiles.
# usage: bench/vision_vs_llamacpp.sh [THREADS [ROUNDS [EDGE]]]      PEER=DIR: a build of llama.cpp with llama-mtmd-cli
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/llamacpp.sh

threads=${1:-$(nproc)} rounds=${2:-5} edge=${3:-1024} pair=$work/vision-${3:-1024}
[ -x "$PEER/bin/llama-mtmd-cli" ] || peer_build llama-mtmd-cli
peer_python
[ -f "$pair/preprocessor_config.json" ] || "$work/venv/bin/python" bench/random_vision_pair.py "$(scripts/get_model.sh)" "$pair" "$edge"
exec "$work/venv/bin/python" bench/compare_vision.py --spate build/release/spate --peer "$PEER/bin/llama-mtmd-cli" --pair "$pair" \
  --threads "$threads" --rounds "$rounds" --edge "$edge"
