#!/bin/bash
# A folder to copy to a machine with a GPU that has only a driver: build/gpu-bundle/spate-gpu, with the server, the tests
# that need a GPU, their fixtures, attention's lab, the bench of whole steps, and run.sh, which runs them all.
#   usage: gpu_bundle.sh [--in-clone]  (for a clone of the project on that machine, whose fixtures it has)
set -euo pipefail
cd "$(dirname "$0")/.."
export CCACHE_DIR=${CCACHE_DIR:-$HOME/.cache/spate/ccache}
launcher=(); command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
build=build/gpu-bundle out=build/gpu-bundle/spate-gpu
tests=(op/op_table op/cuda_sampler op/cuda_engine parity/test_families parity/test_adapters parity/test_folded_adapters
  parity/test_beams parity/test_quantized parity/test_vision
  parity/test_gpu_calibration test_neighbours test_network_walk test_calibration)
names=("${tests[@]##*/}")

cmake --preset gpu-bundle "${launcher[@]}" >/dev/null
cmake --build $build --target spate bench_serving bench_adapter_gpu bench_adapter_load bench_experts_gpu bench_latent_gpu bench_texts_gpu bench_vision_gpu "${names[@]}" -- --quiet
rm -rf $out
mkdir -p $out/lib
cp $build/spate $build/bench/bench_serving $build/bench/bench_adapter_gpu $build/bench/bench_adapter_load $build/bench/bench_experts_gpu $build/bench/bench_latent_gpu $build/bench/bench_texts_gpu $build/bench/bench_vision_gpu "${tests[@]/#/$build/tests/}" bench/gpu.sh $out
cp bench/{gpu_serving,random_model,serving_load,server_process,first_token}.py $out
cp scripts/gpu_bundle_run.sh $out/run.sh
cp scripts/gpu_sanitize.sh $out
mkdir -p $out/tests/e2e
cp tests/e2e/{spate_server,test_images,test_shapes,test_gpu_images,test_image_families,test_encoders}.py $out/tests/e2e
ln -s ../fixtures $out/tests/fixtures
PATH=$PATH:/usr/local/cuda/bin nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -o $out/attend \
  bench/lab/attend.cu $build/src/backend/libroom_backend.a
PATH=$PATH:/usr/local/cuda/bin nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -o $out/linear_large \
  bench/lab/linear_large.cu src/backend/cuda/linear_plain.cu -ldl
strip $out/attend $out/linear_large $out/spate $out/bench_serving $out/bench_adapter_gpu $out/bench_adapter_load $out/bench_experts_gpu $out/bench_latent_gpu $out/bench_texts_gpu $out/bench_vision_gpu "${names[@]/#/$out/}"
cp $build/tests/op/libcuda_fault.so $out/lib
# what tests want beside the C library
for test in "${tests[@]}"; do ldd $build/tests/$test; done |
  awk '/=> \// && !/lib[cm]\.so/ { print $3 }' | sort -u | xargs -I{} cp -L {} $out/lib
if [ "${1:-}" = --in-clone ]; then ln -s ../../../tests/fixtures $out/fixtures; else cp -r tests/fixtures $out/fixtures; fi

# All kernels are in each program, the same bytes: here they are once, and run.sh puts them back.
kernels_copy() { # PROGRAM FIRST BYTES
  dd if="$1" iflag=skip_bytes,count_bytes skip="$2" count="$3" bs=1M status=none
}
kernels_place() { # PROGRAM: where they begin, and how many bytes they are
  local at size
  read -r at size < <(readelf -SW "$1" | sed 's/^ *\[ *[0-9]*\] *//' | awk '$1 == ".nv_fatbin" { print $4, $5 }')
  echo $((16#$at)) $((16#$size))
}
kernels_cut() { # PROGRAM
  local at size; read -r at size < <(kernels_place "$1")
  kernels_copy "$1" "$at" "$size" | cmp -s - kernels || return 0
  kernels_copy "$1" 0 "$at" >"$1.head"
  tail -c +$((at + size + 1)) "$1" >"$1.tail"
  rm "$1"
}
cd $out
kernels_copy spate $(kernels_place spate) >kernels
for program in bench_serving bench_adapter_gpu bench_adapter_load bench_experts_gpu bench_latent_gpu bench_texts_gpu bench_vision_gpu "${names[@]}"; do kernels_cut $program; done
# The programs are alike, which one dictionary for all of them sees.
XZ_OPT=--lzma2=preset=4,dict=64MiB tar cJf tests.tar.xz --remove-files attend linear_large fixtures kernels spate lib $(ls -d *.head *.tail "${names[@]}" 2>/dev/null)
cd - >/dev/null
du -sh $out
