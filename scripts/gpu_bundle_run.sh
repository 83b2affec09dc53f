#!/bin/bash
# Runs what is in this folder on this machine's GPU: whether it is right, JOBS parts at a time (as many as there are cores,
# unless given), then how fast it is, then, if asked, the op cases under compute-sanitizer. Needs no Python. A part that
# takes longer than its share is ended and fails; parts for which no time is left are named, and fail the run too. Logs,
# and the tables of the benches for SPEED.md, go to $OUT (results/ unless set).
#   usage: [SERVING=FOLDER] [SANITIZE=1] [JOBS=N] run.sh [SECONDS], 900 unless given
set -uo pipefail
cd "$(dirname "$0")"
limit=${1:-900} out=${OUT:-$PWD/results} failed=0
export LD_LIBRARY_PATH=$PWD/lib SPATE_BACKEND=cuda
mkdir -p "$out"
[ ! -f tests.tar.xz ] || tar xJf tests.tar.xz || python3 -m tarfile -e tests.tar.xz . || exit 1
for head in *.head; do # programs that are packed without their kernels
  [ -f "$head" ] || break
  program=${head%.head}
  cat "$head" kernels "$program.tail" >"$program" && chmod +x "$program" && rm "$head" "$program.tail" || exit 1
done
rm -f tests.tar.xz
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || { echo "run.sh: there is no GPU here, or no driver."; exit 1; }

part() { # NAME SECONDS COMMAND...: the last line of its log; 77 is a skip, 124 the end of its time
  local name=$1 share=$2 start=$SECONDS left=$((limit - SECONDS)) status line; shift 2
  if [ "$left" -le 0 ]; then echo "NOT RUN $name: $limit s are over"; return 1; fi
  timeout -k 5 $((share < left ? share : left)) "$@" >"$out/$name.log" 2>&1; status=$?
  line=$(tail -n 1 "$out/$name.log")
  case $status in
    0) echo "ok $name ($((SECONDS - start)) s): $line" ;;
    77) echo "SKIPPED $name: $line" ;;
    124 | 137) echo "FAILED $name: it took longer than $((SECONDS - start)) s ($out/$name.log)"; return 1 ;;
    *) echo "FAILED $name ($out/$name.log): $line"; return 1 ;;
  esac
}
beside() { # NAME SECONDS COMMAND...: a part that times nothing, beside JOBS - 1 others
  while [ "$(jobs -pr | wc -l)" -ge "${JOBS:-$(nproc)}" ]; do wait -n || failed=1; done
  part "$@" &
}
all_ended() { while [ -n "$(jobs -p)" ]; do wait -n || failed=1; done; }
measure() { # NAME SECONDS COMMAND...: alone, with its table
  part "$@" || failed=1
  cat "$out/$1.log"
}

# Whether it is right: what takes longest first, so that it ends beside the rest; then what has run on the fewest GPUs.
# What older GPUs run is compiled here from PTX by the driver.
older() { env "SPATE_ISA=sm$1" CUDA_FORCE_PTX_JIT=1 SPATE_TEST_BACKEND=cuda "${@:2}"; } # PATH COMMAND...
export -f older
for path in 80 75; do beside portable-$path 400 bash -c "older $path ./op_table && older $path ./test_families && older $path ./cuda_sampler 5000"; done
for share in $(seq 12); do beside linear-$share 300 ./op_table linear "" $share/12; done # 47 minutes of a core in all
SPATE_TEST_BACKEND=cuda beside neighbours 240 ./test_neighbours
if command -v python3 >/dev/null; then
  SPATE=$PWD/spate beside images-served 300 python3 tests/e2e/test_gpu_images.py
  SPATE=$PWD/spate SPATE_TEST_BACKEND=cuda beside encoders-served 240 python3 tests/e2e/test_encoders.py
else
  echo "SKIPPED encoders-served, images-served: there is no python3"
fi
for path in 80 75; do
  beside neighbours-$path 240 bash -c "older $path ./test_neighbours"
  beside adapters-$path 120 bash -c "older $path ./test_adapters"
done
for family in hosted crowds mixture experts texts embed "chain BF16" "head BF16"; do beside "${family// /-}" 90 ./op_table $family; done
beside families 120 ./test_families
for family in adapter chain head attend columns range encode sample decode far; do beside "$family" 120 ./op_table $family; done
for test in adapters folded_adapters beams quantized vision network_walk calibration gpu_calibration; do beside $test 90 ./test_$test; done
beside draws 90 ./cuda_sampler
all_ended
part engine 90 ./cuda_engine || failed=1 # which compares what the GPU has free with what it counts: with nothing beside it

# How fast it is.
for shape in "128 8 2048 768" "32 4 2880 2880" "8 2 4096 14336 2" "128 8 2048 768 16 30 INT4_WEIGHT" "32 4 2880 2880 16 30 MXFP4"; do measure "experts-speed-${shape// /-}" 60 ./bench_experts_gpu $shape; done
measure experts-host-speed 60 ./bench_experts_gpu --host 128 8 2048 768 8
for heads in 16 128; do measure "latent-speed-$heads" 60 ./bench_latent_gpu $heads; done
for rows in 1 32; do measure adapter-speed-$rows 60 ./bench_adapter_gpu llama-3.1-8b $rows 16 1024; done
measure texts-speed 60 ./bench_texts_gpu
measure vision-speed 60 ./bench_vision_gpu
measure attention-alone 60 ./attend all
LINEAR_LARGE=./linear_large measure speed 260 bash gpu.sh ./spate
cp "$out/speed.log" "$out/table.md"
if [ -n "${SERVING:-}" ]; then
  measure serving 400 python3 gpu_serving.py "$SERVING" --spate ./spate --bench-serving ./bench_serving
else
  echo "SKIPPED serving: SERVING names no folder with room for 40 GB (and python3 with numpy)"
fi
if [ -n "${SANITIZE:-}" ]; then
  OP_TABLE=./op_table measure sanitizers 300 bash gpu_sanitize.sh
else
  echo "SKIPPED sanitizers: SANITIZE is not set"
fi
exit $failed
