#!/bin/bash
# Runs what is in this folder on this machine's GPU: first whether it is right, then how fast. Needs no Python. The tables
# of the last part are for SPEED.md.  usage: run.sh
set -uo pipefail
cd "$(dirname "$0")"
export LD_LIBRARY_PATH=$PWD/lib SPATE_BACKEND=cuda
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || { echo "run.sh: there is no GPU here, or no driver."; exit 1; }
failed=0
part() { # NAME COMMAND...: its last lines; 77 is a skip
  local name=$1 status; shift
  "$@" >"$name.log" 2>&1; status=$?
  tail -n 1 "$name.log"
  case $status in 0) echo "ok $name" ;; 77) echo "SKIPPED $name" ;; *) echo "FAILED $name ($name.log)"; failed=1 ;; esac
}
part ops ./op_table
part draws ./cuda_sampler
part families ./test_families
part beams ./test_beams
part lost ./cuda_lost
bash gpu.sh ./spate | tee table.md || failed=1
exit $failed
