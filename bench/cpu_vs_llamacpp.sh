#!/bin/bash
# Spate against llama.cpp on this machine's CPU: same files, same threads, the two programs in turn, medians of ratios.
# llama.cpp is built natively from the PyPI sdist llama-cpp-python; the model is the default one, and what llama-quantize
# makes of it. Takes about twenty minutes the first time (most of it the build), five after that.
# usage: bench/cpu_vs_llamacpp.sh [THREADS [ROUNDS]]      PEER=DIR: a build of llama.cpp that is there already
set -euo pipefail
cd "$(dirname "$0")/.."

threads=${1:-$(nproc)} rounds=${2:-5}
work=${XDG_CACHE_HOME:-$HOME/.cache}/spate/bench
version=0.3.36
mkdir -p "$work"

build_peer() {
  python3 -m pip download --quiet --no-deps --no-binary :all: --dest "$work" "llama-cpp-python==$version"
  tar -xzf "$work"/llama_cpp_python-$version.tar.gz -C "$work"
  local source=$work/llama_cpp_python-$version/vendor/llama.cpp
  cmake -S "$source" -B "$work/peer" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_EXAMPLES=OFF >"$work/peer.log"
  cmake --build "$work/peer" --target llama-bench llama-quantize >>"$work/peer.log"
}

PEER=${PEER:-$work/peer}
[ -x "$PEER/bin/llama-bench" ] || build_peer
[ -x build/release/spate ] || make build
model=${MODEL:-$(scripts/get_model.sh)}

cp -n "$model" "$work/Q4_1.gguf" || true
for type in Q4_0 Q8_0 BF16; do
  [ -f "$work/$type.gguf" ] || "$PEER/bin/llama-quantize" --allow-requantize "$work/Q4_1.gguf" "$work/$type.gguf" $type >/dev/null 2>&1
done

exec python3 bench/compare_peer.py --spate build/release/spate --peer "$PEER/bin/llama-bench" --models "$work" \
  --threads "$threads" --rounds "$rounds"
