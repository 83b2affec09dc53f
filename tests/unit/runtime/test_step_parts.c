/* A step of texts that a device runs by itself, in parts: each that ends is progress, and the answer comes after all of
 * them; one that fails ends the engine. */
#include "runtime_fixture.h"

#include "runtime/runtime_state.h"

enum { PARTS = 3 };

static struct fixture fixture = {.model = FIXTURES "/encoder/bert"};
static int awaited, progressed, collected;
static bool fails;

/* The parts before have been told of. */
static bool parts_await(struct program *program, bool *more, struct error *error) {
  _Atomic uint64_t *progress = &fixture.runtime->progress_us;
  (void)program;
  if (awaited > 0) progressed += atomic_exchange(progress, 0) != 0;
  atomic_store(progress, 0);
  *more = ++awaited < PARTS;
  return !fails || awaited < PARTS || error_set(error, ERROR_DEVICE, "A part failed.");
}

static bool parts_collect(struct program *program, struct result *result, struct error *error) {
  progressed += atomic_exchange(&fixture.runtime->progress_us, 0) != 0;
  collected++;
  return backend_cpu.collect(program, result, error);
}

static struct inbox_event vector_ask(void) {
  struct request_params params = params_make("a", 1);
  struct inbox_event event = {0};
  struct inbox *inbox = inbox_make(&fixture);
  params.vector = true;
  submit(&fixture, inbox, &params);
  assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
  runtime_inbox_close(fixture.runtime, inbox);
  return event;
}

static void parts_run(bool failing) {
  static struct backend backend;
  backend = backend_cpu;
  backend.await = parts_await;
  backend.collect = parts_collect;
  awaited = progressed = collected = 0;
  fails = failing;
  fixture_open(&fixture, &backend);
  fixture_start(&fixture);
}

static void test_parts_are_progress(void **state) {
  (void)state;
  parts_run(false);
  assert_int_equal(vector_ask().kind, INBOX_DONE);
  fixture_close(&fixture);
  assert_int_equal(awaited, PARTS);
  assert_int_equal(collected, 1);
  assert_int_equal(progressed, PARTS);
}

static void test_a_part_that_fails(void **state) {
  struct error error = {0};
  (void)state;
  parts_run(true);
  struct inbox_event event = vector_ask();
  assert_int_equal(event.kind, INBOX_FAILED);
  assert_false(runtime_healthy(fixture.runtime, &error));
  assert_string_equal(error.text, "A part failed.");
  fixture_close(&fixture);
  assert_int_equal(collected, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts_are_progress),
                                     cmocka_unit_test(test_a_part_that_fails)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
