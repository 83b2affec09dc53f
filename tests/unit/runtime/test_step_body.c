/* A step of long texts runs in pieces, each of which is progress: what the health of an engine is told by. This program
 * is its own backend, whose pieces end when it says so. */
#include "base/clock.h"
#include "runtime/runtime_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PIECES = 5, LONG = 1000, SHORT = 10 };

static struct {
  struct runtime *runtime;
  int pieces, submits, fails_at;
  uint64_t began[PIECES], progress[PIECES]; /* when a piece was asked for; the progress that the runtime had then */
} seen;

static void clock_moves(void) {
  for (uint64_t now = clock_us(); clock_us() == now;) continue;
}

static bool advance(struct program *program, const struct batch *batch, double us, bool *done, struct error *error) {
  (void)program, (void)batch, (void)us;
  int piece = seen.pieces++;
  if (piece == seen.fails_at) return error_set(error, ERROR_DEVICE, "The device is on fire.");
  clock_moves();
  seen.began[piece] = clock_us();
  seen.progress[piece] = atomic_load(&seen.runtime->progress_us);
  clock_moves();
  *done = piece == PIECES - 1;
  return true;
}

static bool submit(struct program *program, const struct batch *batch, struct error *error) {
  (void)program, (void)batch, (void)error;
  seen.submits++;
  return true;
}

/* False as step_body_run says it. */
static bool body_run(bool encodes, const struct backend *backend, int32_t n_token, int fails_at) {
  struct loaded_engine engine = {.backend = backend};
  struct runtime rt = {.engine = &engine, .encodes = encodes};
  struct batch batch = {.n_token = n_token};
  struct error error = {0};
  seen.pieces = seen.submits = 0;
  seen.runtime = &rt;
  seen.fails_at = fails_at;
  bool ran = step_body_run(&rt, &batch, &error);
  if (!ran) assert_string_equal(error.text, "The device is on fire.");
  if (ran && seen.pieces) assert_true(atomic_load(&rt.progress_us) > seen.began[PIECES - 1]);
  return ran;
}

static const struct backend cut = {.advance = advance, .submit = submit}, whole = {.submit = submit};

static void test_each_piece_is_progress(void **state) {
  (void)state;
  assert_true(body_run(true, &cut, LONG, -1));
  assert_int_equal(seen.pieces, PIECES);
  for (int i = 1; i < PIECES; i++) {
    assert_true(seen.progress[i] > seen.began[i - 1]);
    assert_true(seen.progress[i] < seen.began[i]);
  }
}

static void test_what_fails_ends_it(void **state) {
  (void)state;
  assert_false(body_run(true, &cut, LONG, 2));
  assert_int_equal(seen.pieces, 3);
}

static void test_what_runs_at_once(void **state) {
  (void)state;
  const struct {
    bool encodes;
    const struct backend *backend;
    int32_t n_token;
  } at_once[] = {{true, &cut, SHORT}, {false, &cut, LONG}, {true, &whole, LONG}};
  for (size_t i = 0; i < sizeof at_once / sizeof *at_once; i++) {
    assert_true(body_run(at_once[i].encodes, at_once[i].backend, at_once[i].n_token, -1));
    assert_int_equal(seen.submits, 1);
    assert_int_equal(seen.pieces, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_piece_is_progress),
      cmocka_unit_test(test_what_fails_ends_it),
      cmocka_unit_test(test_what_runs_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
