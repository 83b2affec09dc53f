#!/bin/bash
# Runs what is in this folder on this machine's GPU: whether it is right, what changed last first, then how fast it is,
# then, if asked, the op cases under compute-sanitizer. Needs no Python. A part that takes longer than its share is
# ended and fails; parts for which no time is left are named, and fail the run too. Logs, and the tables of the benches
# for SPEED.md, go to $OUT (results/ unless set).  usage: [SERVING=FOLDER] [SANITIZE=1] run.sh [SECONDS], 480 unless given
set -uo pipefail
cd "$(dirname "$0")"
limit=${1:-480} out=${OUT:-$PWD/results} failed=0
export LD_LIBRARY_PATH=$PWD/lib SPATE_BACKEND=cuda
mkdir -p "$out"
[ ! -f tests.tar.gz ] || tar xzf tests.tar.gz || exit 1
for head in *.head; do # programs that are packed without their kernels
  [ -f "$head" ] || break
  program=${head%.head}
  cat "$head" kernels "$program.tail" >"$program" && chmod +x "$program" && rm "$head" "$program.tail" || exit 1
done
rm -f tests.tar.gz
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || { echo "run.sh: there is no GPU here, or no driver."; exit 1; }

part() { # NAME SECONDS COMMAND...: the last line of its log; 77 is a skip, 124 the end of its time
  local name=$1 share=$2 start=$SECONDS left=$((limit - SECONDS)) status; shift 2
  if [ "$left" -le 0 ]; then echo "NOT RUN $name: $limit s are over"; failed=1; return; fi
  timeout -k 5 $((share < left ? share : left)) "$@" >"$out/$name.log" 2>&1; status=$?
  tail -n 1 "$out/$name.log"
  case $status in
    0) echo "ok $name ($((SECONDS - start)) s)" ;;
    77) echo "SKIPPED $name" ;;
    124 | 137) echo "FAILED $name: it took longer than $((SECONDS - start)) s ($out/$name.log)"; failed=1 ;;
    *) echo "FAILED $name ($out/$name.log)"; failed=1 ;;
  esac
}

# What has never run on a GPU, first: routes and experts; norms, ends and rows of other families; encoders of texts.
for family in mixture experts texts embed; do part new-$family 60 ./op_table $family; done
part new-chain 60 ./op_table chain BF16
part new-head 60 ./op_table head BF16
part new-families 90 ./test_families
if command -v python3 >/dev/null; then
  SPATE=$PWD/spate SPATE_TEST_BACKEND=cuda part new-encoders 240 python3 tests/e2e/test_encoders.py
else
  echo "SKIPPED new-encoders: there is no python3"
fi
for shape in "128 8 2048 768" "32 4 2880 2880" "8 2 4096 14336 2"; do
  part "experts-speed-${shape// /-}" 60 ./bench_experts_gpu $shape; cat "$out/experts-speed-${shape// /-}.log"
done
part attention 60 ./op_table attend
part attention-alone 60 ./attend all
part linears 90 ./op_table linear
for family in adapter columns chain range encode head sample decode far; do part $family 30 ./op_table $family; done
part draws 60 ./cuda_sampler
part adapters 60 ./test_adapters
part folded-adapters 60 ./test_folded_adapters
part beams 30 ./test_beams
part quantized 60 ./test_quantized
part vision 60 ./test_vision
if command -v python3 >/dev/null; then
  SPATE=$PWD/spate part images-served 120 python3 tests/e2e/test_gpu_images.py
else
  echo "SKIPPED images-served: there is no python3"
fi
for test in network_walk calibration gpu_calibration; do part $test 60 ./test_$test; done
SPATE_TEST_BACKEND=cuda part neighbours 60 ./test_neighbours
part engine 60 ./cuda_engine
# What older GPUs run, compiled here from PTX by the driver.
for path in 80 75; do
  export SPATE_ISA=sm$path CUDA_FORCE_PTX_JIT=1
  part portable-$path 120 bash -c './op_table && ./test_families && ./cuda_sampler 5000'
  part adapters-$path 60 ./test_adapters
  SPATE_TEST_BACKEND=cuda part neighbours-$path 60 ./test_neighbours
  unset SPATE_ISA CUDA_FORCE_PTX_JIT
done
for rows in 1 32; do part adapter-speed-$rows 60 ./bench_adapter_gpu llama-3.1-8b $rows 16 1024; cat "$out/adapter-speed-$rows.log"; done
part vision-speed 60 ./bench_vision_gpu; cat "$out/vision-speed.log"
LINEAR_LARGE=./linear_large part speed 260 bash gpu.sh ./spate
cp "$out/speed.log" "$out/table.md" && cat "$out/table.md"
if [ -n "${SERVING:-}" ]; then
  part serving 400 python3 gpu_serving.py "$SERVING" --spate ./spate --bench-serving ./bench_serving
  cat "$out/serving.log"
else
  echo "SKIPPED serving: SERVING names no folder with room for 40 GB (and python3 with numpy)"
fi
if [ -n "${SANITIZE:-}" ]; then
  OP_TABLE=./op_table part sanitizers 300 bash gpu_sanitize.sh
  cat "$out/sanitizers.log"
else
  echo "SKIPPED sanitizers: SANITIZE is not set"
fi
exit $failed
