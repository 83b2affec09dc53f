#!/bin/sh
# Which lines of src/ the tests run, but for the CUDA backend and for kernels, of which the machine chooses a set. The
# preset coverage counts them, and has the sanitizers too.
# usage: coverage.sh run|clear|report     run: builds, tests and reports; report fails below 85 %
set -eu
cd "$(dirname "$0")/.."

least=85
files=15
build=build/coverage

report() {
  code=0
  gcovr --root . --object-directory "$build" --filter src/ --exclude src/backend/cuda/ --gcov-ignore-parse-errors \
    --txt "$build/coverage.txt" --fail-under-line "$least" "$build" 2>"$build/coverage.log" || code=$?
  [ -s "$build/coverage.txt" ] || { tail -n 20 "$build/coverage.log" >&2; return 1; }
  echo "The files with the most lines that nothing runs (all of them: $build/coverage.txt), of how many lines:"
  awk '/^src[^ ]*$/ {long = $1} # a name that fills the line, with its figures on the next
    / +[0-9]+ +[0-9]+ +[0-9]+%/ && !/^TOTAL/ {if ($1 ~ /^src/) print $2 - $3, $2, $1; else print $1 - $2, $1, long}' "$build/coverage.txt" |
    sort -rn | head -n "$files"
  echo "Lines of src/, those that run, their share: $(sed -n 's/^TOTAL *//p' "$build/coverage.txt"); $least % are wanted"
  return "$code"
}

case "${1:-}" in
  run)
    cmake --preset coverage -DSPATE_TESTS=ON >/dev/null
    cmake --build --preset coverage -- --quiet
    find "$build" -name '*.gcda' -delete
    ctest --test-dir "$build" -j"$((2 * $(nproc)))" --output-on-failure
    report
    ;;
  clear) find "$build" -name '*.gcda' -delete ;; # of an older build, which a program would complain about
  report) report ;;
  *) echo "usage: $0 run|clear|report" >&2; exit 2 ;;
esac
