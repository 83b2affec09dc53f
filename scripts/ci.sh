#!/bin/bash
# Everything that must hold before a change lands, with the time of each stage. SPATE_LONG=1: the long version.
set -uo pipefail
cd "$(dirname "$0")/.."

long=${SPATE_LONG:-0}
export CCACHE_DIR=${CCACHE_DIR:-$HOME/.cache/spate/ccache}
[ -d ../shared/data ] && export SPATE_TEST_DATA=${SPATE_TEST_DATA:-$(cd ../shared/data && pwd)}
launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
failed=()
start=$SECONDS

stage() { # NAME COMMAND...: runs it, prints its time, remembers failures and what was printed
  local name=$1 from=$SECONDS log=build/stage.log; shift
  echo "=== $name"
  "$@" 2>&1 | tee "$log"
  if [ "${PIPESTATUS[0]}" = 0 ]; then echo "=== $name: ok, $((SECONDS - from)) s"; return; fi
  echo "=== $name: FAILED, $((SECONDS - from)) s"
  failed+=("$name")
  failure_keep "$name" "$log" >>build/failures.log
}

# What a failed stage printed of its failures: each test that failed with the lines behind, and its end.
failure_keep() { # NAME LOG
  echo "--- $1"
  grep -E -A 30 '\*\*\*(Failed|Exception|Timeout)' "$2" | tail -n 120 | cut -c 1-300
  tail -n 100 "$2" | cut -c 1-300
}

configure() { # PRESET OPTIONS...
  local preset=$1; shift
  cmake --preset "$preset" "${launcher[@]}" "$@" >"build/$preset.log" 2>&1 || { cat "build/$preset.log"; return 1; }
}

build() { # PRESET [TARGET]
  local strict=ON; [ "$1" = fuzz ] && strict=OFF # clang warns of other things; gcc's warnings are the errors
  configure "$1" -DSPATE_WERROR=$strict -DSPATE_TESTS=ON && cmake --build --preset "$1" --target "${2:-all}" -- --quiet
}

# Of two cores, whose halves tests/weights.cmake gives to tests.
tests() { ctest --test-dir "build/$1" --output-on-failure -j4 "${@:2}" | grep -v '^      Start'; return "${PIPESTATUS[0]}"; }
# What one of the two passes need not run, as the other does: released, the CPU a step late, but for what
# the sanitizers leave out of it, and what goes through inputs for
# errors of memory; with sanitizers, loads and guides of what other tests ask one by one, lists of packages, and
# every mode and method of every family with experts, most of which test_experts and
# unit/build/test_mixture_calibration have of some.
tests_released() {
  local late='e2e_late/test_(generate|life|logs|metrics|openai|prometheus|search|spoilt)|python_late/test_async|unit_late/lib/test_(options|chat_tokens|parked)'
  if [ "$long" = 1 ]; then tests release; else tests release -E "^($late|e2e/test_schema|unit/text/test_template_calls)\$"; fi
}
tests_without_model() { (unset SPATE_TEST_MODEL SPATE_TEST_MINILM; tests "$@"); }

tests_counted() { # with the sanitizers and counters of the lines that run; of the ops few cases, unless there is time
  scripts/coverage.sh clear
  local left='op/op_table_few'; [ "$long" = 1 ] || left='op/op_table|parity/test_expert_modes|e2e/test_(load|sbom)|docs/test_guides'
  tests_without_model coverage -E "^($left)\$"
}

style() {
  python3 scripts/check_order.py && python3 scripts/check_budget.py && python3 scripts/check_options.py &&
    git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror
}

# The same inputs for the same commit; the long version goes elsewhere each time.
fuzz() { if [ "$long" = 1 ]; then FUZZ_SAME=0 FUZZ_SECONDS=300 scripts/fuzz.sh; else FUZZ_SAME=1 scripts/fuzz.sh; fi; }

mkdir -p build && rm -f build/failures.log
stage "style" style
if [ "$long" = 1 ]; then stage "analysis" scripts/analyze.py all; else stage "analysis" scripts/analyze.py; fi
stage "build release" build release
stage "kernels" scripts/count_kernels.sh
stage "model" scripts/get_model.sh
stage "promtool" scripts/get_prometheus.sh
export SPATE_TEST_PROMETHEUS=${SPATE_TEST_PROMETHEUS:-$(scripts/get_prometheus.sh 2>/dev/null)}
export SPATE_TEST_MODEL=${SPATE_TEST_MODEL:-$(scripts/get_model.sh 2>/dev/null)}
stage "encoder" scripts/get_minilm.sh
export SPATE_TEST_MINILM=${SPATE_TEST_MINILM:-$(scripts/get_minilm.sh 2>/dev/null)}
stage "clients" scripts/get_clients.sh
export SPATE_TEST_CLIENTS=${SPATE_TEST_CLIENTS:-$(scripts/get_clients.sh 2>/dev/null)}
stage "test release" tests_released
stage "build with sanitizers and counters" build coverage
stage "test with sanitizers and counters" tests_counted
stage "line coverage" scripts/coverage.sh report
if [ "$long" = 1 ]; then
  stage "build tsan" build tsan
  stage "test tsan" tests_without_model tsan
else
  stage "build tsan" build tsan thread_tests
  stage "test tsan (what has threads)" tests_without_model tsan -L threads
fi
stage "build fuzz" build fuzz fuzzers
stage "fuzz" fuzz
aarch64_cases=few; [ "$long" = 1 ] && aarch64_cases=
[ -x scripts/test_aarch64.sh ] && stage "aarch64 under qemu" scripts/test_aarch64.sh $aarch64_cases
[ "$long" = 1 ] && stage "AVX-512 emulated" scripts/test_avx512.sh
[ "$long" = 1 ] && stage "two builds of a commit" scripts/reproducible.sh

echo "=== all stages: $((SECONDS - start)) s"
if [ ${#failed[@]} -gt 0 ]; then
  cat build/failures.log
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
