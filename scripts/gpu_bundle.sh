#!/bin/bash
# A folder to copy to a machine with a GPU that has only a driver: build/gpu-bundle/spate-gpu, with the server, the tests
# that need a GPU, their fixtures, the bench of whole steps, and run.sh, which runs them all.
set -euo pipefail
cd "$(dirname "$0")/.."
export CCACHE_DIR=${CCACHE_DIR:-$HOME/.cache/spate/ccache}
launcher=(); command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
build=build/gpu-bundle out=build/gpu-bundle/spate-gpu programs=(spate tests/op/op_table tests/op/cuda_sampler tests/op/cuda_lost tests/parity/test_families tests/parity/test_beams)

cmake --preset gpu-bundle "${launcher[@]}" >/dev/null
cmake --build $build --target spate op_table cuda_sampler cuda_lost test_families test_beams -- --quiet
rm -rf $out
mkdir -p $out/lib
cp "${programs[@]/#/$build/}" bench/gpu.sh scripts/gpu_bundle_run.sh $out
mv $out/gpu_bundle_run.sh $out/run.sh
strip $out/spate $out/op_table $out/cuda_sampler $out/cuda_lost $out/test_families $out/test_beams
cp $build/tests/op/libcuda_fault.so $out/lib
# what tests want beside the C library
ldd $build/tests/parity/test_families | awk '/=> \// && !/lib[cm]\.so/ { print $3 }' | xargs -I{} cp -L {} $out/lib
cp -r tests/fixtures $out/fixtures
du -sh $out
