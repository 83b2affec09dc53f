/* Adapters on their way into a slot, while requests that asked for them end and others want the engine to themselves.
 */
#include "script_fixture.h"

#include "engine/adapter_store.h"

#include <time.h>

static atomic_int n_placing; /* placements that were begun */
static atomic_bool placed_slowly, parked;

static void pause_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static bool slow_place(struct program *program, int slot, const struct adapter *adapter, struct error *error) {
  atomic_fetch_add(&n_placing, 1);
  while (atomic_load(&placed_slowly)) pause_ms(1);
  return backend_null.adapter_load(program, slot, adapter, error);
}

static int adapted_setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  script_init();
  script_backend.adapter_load = slow_place;
  f->model = FIXTURES "/model/llama3";
  f->adapters = FIXTURES "/adapter";
  atomic_store(&n_placing, 0);
  atomic_store(&placed_slowly, true);
  atomic_store(&parked, false);
  fixture_open(f, &script_backend);
  fixture_start(f);
  *state = f;
  return 0;
}

static uint64_t ask(struct fixture *f, struct inbox *inbox, const char *adapter) {
  struct request_params params = params_make("a", 2);
  struct adapter_choice choice = {slice_text(adapter), 1};
  params.adapter = &choice;
  params.n_adapter = 1;
  return submit(f, inbox, &params);
}

static void placings_await(int count) {
  while (atomic_load(&n_placing) < count) pause_ms(1);
}

static void *park(void *argument) {
  struct fixture *f = argument;
  struct error error;
  while (!runtime_park(f->runtime, &error)) assert_int_equal(error.code, ERROR_BUSY);
  atomic_store(&parked, true);
  return NULL;
}

/* Nobody has the slots to himself while one of them is being filled, though nobody waits for it any more. */
static void test_parked_while_placed(void **state) {
  struct fixture *f = *state;
  struct error error;
  pthread_t thread;
  struct inbox *inbox = inbox_make(f);
  uint64_t id = ask(f, inbox, "all");
  placings_await(1);
  runtime_cancel(f->runtime, id);
  assert_int_equal(answer_take(inbox, id).last.finish, FINISH_CANCELLED);
  assert_int_equal(pthread_create(&thread, NULL, park, f), 0);
  pause_ms(50);
  assert_false(atomic_load(&parked));
  atomic_store(&placed_slowly, false);
  pthread_join(thread, NULL);
  struct adapter_store *store = runtime_adapters(f->runtime);
  struct stored_adapter *other = adapter_store_take(store, slice_text("dora"), false, &error);
  assert_non_null(other);
  if (!adapter_store_put(store, 0, other, &error)) fail_msg("%s", error.text);
  runtime_forget_slots(f->runtime);
  adapter_store_drop(store, other);
  runtime_resume(f->runtime);
  assert_int_equal(answer_take(inbox, ask(f, inbox, "all")).last.kind, INBOX_DONE);
  assert_int_equal(atomic_load(&n_placing), 3); /* it is not where it was */
  runtime_inbox_close(f->runtime, inbox);
}

/* The engine is closed meanwhile. */
static void test_closed_while_placed(void **state) {
  struct fixture *f = *state;
  struct inbox *inbox = inbox_make(f);
  ask(f, inbox, "all");
  placings_await(1);
  runtime_inbox_close(f->runtime, inbox);
  atomic_store(&placed_slowly, false);
}

/* A step fails meanwhile: all end, and nobody waits for the slot. */
static void test_failed_while_placed(void **state) {
  struct fixture *f = *state;
  struct error error;
  struct inbox *inbox = inbox_make(f);
  struct request_params plain = params_make("a", 20);
  atomic_store(&script.fail_step, 0);
  uint64_t id = ask(f, inbox, "all");
  placings_await(1);
  uint64_t other = submit(f, inbox, &plain);
  for (int i = 0; i < 2; i++) {
    struct inbox_event event;
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    assert_true(event.request == id || event.request == other);
    assert_int_equal(event.kind, INBOX_FAILED);
  }
  atomic_store(&placed_slowly, false);
  assert_false(runtime_park(f->runtime, &error));
  assert_string_equal(error.text, "The device is on fire.");
  runtime_inbox_close(f->runtime, inbox);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_parked_while_placed, adapted_setup, teardown),
      cmocka_unit_test_setup_teardown(test_closed_while_placed, adapted_setup, teardown),
      cmocka_unit_test_setup_teardown(test_failed_while_placed, adapted_setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
