# The peer of the comparing benches: llama.cpp, built natively from the PyPI sdist llama-cpp-python, and the files that it
# makes of the default model. Sourced from the repository's root. PEER=DIR: a build that is there already.
work=${XDG_CACHE_HOME:-$HOME/.cache}/spate/bench
version=0.3.36
mkdir -p "$work"
PEER=${PEER:-$work/peer}

# TARGET...: what is built of it.
peer_build() {
  [ $# -gt 0 ] || set -- llama-bench llama-quantize llama-server
  python3 -m pip download --quiet --no-deps --no-binary :all: --dest "$work" "llama-cpp-python==$version"
  tar -xzf "$work"/llama_cpp_python-$version.tar.gz -C "$work"
  local source=$work/llama_cpp_python-$version/vendor/llama.cpp
  cmake -S "$source" -B "$work/peer" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF >"$work/peer.log"
  cmake --build "$work/peer" --target "$@" >>"$work/peer.log"
}

# The same of random weights in the shape of Llama-3.2-1B, whose width allows the K types: "1B-Q4_K_M", ...
peer_random_files() {
  local type source=$work/random-1b.gguf python=$work/venv/bin/python
  [ -x "$python" ] || { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet gguf numpy; }
  [ -f "$source" ] || { "$python" bench/random_gguf.py "$work/Q4_1.gguf" "$source.part" && mv "$source.part" "$source"; }
  for type in "$@"; do
    [ -f "$work/1B-$type.gguf" ] || "$PEER/bin/llama-quantize" "$source" "$work/1B-$type.gguf" "$type" >/dev/null 2>&1
  done
}

peer_python() {
  [ -x "$work/venv/bin/python" ] || { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet gguf numpy pillow; }
}

# TYPE...: the default model as Q4_1 (as it is) and as each of these.
peer_files() {
  local model=${MODEL:-$(scripts/get_model.sh)} type
  cp -n "$model" "$work/Q4_1.gguf" || true
  for type in "$@"; do
    [ -f "$work/$type.gguf" ] || "$PEER/bin/llama-quantize" --allow-requantize "$work/Q4_1.gguf" "$work/$type.gguf" "$type" >/dev/null 2>&1
  done
}
