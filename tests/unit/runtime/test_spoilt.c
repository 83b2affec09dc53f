/* Logits that are not finite: they are one request's fault, whose neighbours go on, until nobody's are. */
#include "script_fixture.h"

#include "runtime/engine_probe.h"

enum { SPOILT_MANY = 40 };

static const char sentence[] =
    "The logits that were computed for this request are not finite numbers, so that no token can be drawn: its keys or "
    "values may have left the range of the KV cache's type; bf16 and fp32 have a wide one (--kv-cache-dtype).";

static struct request_params spoilt_make(void) {
  struct request_params params = params_make("a", 20);
  params.sampling.seed = SPOILT_SEED;
  params.sampling.temperature = 1;
  return params;
}

/* The sentence comes after what was written before. */
static void failed_check(const struct answer *answer) {
  assert_int_equal(answer->last.kind, INBOX_FAILED);
  assert_int_equal(answer->last.code, ERROR_INTERNAL);
  assert_true(answer->size >= strlen(sentence));
  assert_string_equal(answer->text + answer->size - strlen(sentence), sentence);
}

/* Three requests that fail at their first or fifth token, beside one that is whole; and again, many times more than
 * would stop an engine whose every request fails. */
static void test_neighbours_go_on(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct request_params bad = spoilt_make(), good = params_make("b", 30);
  for (int round = 0; round < 20; round++) {
    struct inbox *inbox[TINY_SEATS];
    uint64_t id[TINY_SEATS];
    atomic_store(&script.spoilt_index, round % 2 ? 4 : 0);
    for (int i = 0; i < TINY_SEATS; i++) inbox[i] = inbox_make(f);
    pthread_mutex_lock(&script.gate);
    for (int i = 0; i < TINY_SEATS; i++) id[i] = submit(f, inbox[i], i == round % TINY_SEATS ? &good : &bad);
    pthread_mutex_unlock(&script.gate);
    for (int i = 0; i < TINY_SEATS; i++) {
      struct answer answer = answer_take(inbox[i], id[i]);
      runtime_inbox_close(f->runtime, inbox[i]);
      if (i == round % TINY_SEATS)
        assert_string_equal(answer.text, "abcdefghijklmnopqrstuvwxyzabcd");
      else
        failed_check(&answer);
    }
  }
  struct error error;
  assert_true(runtime_healthy(f->runtime, &error));
}

/* Of several answers, or beams, of a request one is enough. */
static void test_answers_fail_together(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params answers = spoilt_make(), beams = spoilt_make(), good = params_make("b", 3);
  answers.sampling.seed -= 2; /* the third has the seed */
  answers.n_answer = 3;
  atomic_store(&script.spoilt_index, 2);
  uint64_t id = submit(f, inbox, &answers);
  struct inbox_event event;
  do assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
  while (event.kind == INBOX_TEXT);
  assert_true(event.request == id && event.kind == INBOX_FAILED && slice_is(event.text, sentence));
  beams.n_beam = 2;
  beams.n_answer = 1;
  beams.sampling.temperature = 0;
  atomic_store(&script.spoilt_index, 0);
  struct answer answer = answer_take(inbox, submit(f, inbox, &beams));
  failed_check(&answer);
  answer = answer_take(inbox, submit(f, inbox, &good));
  assert_string_equal(answer.text, "abc");
  runtime_inbox_close(f->runtime, inbox);
}

static void bad_ask(struct fixture *f, struct inbox *inbox, int count) {
  struct request_params bad = spoilt_make();
  for (int i = 0; i < count; i++) {
    struct answer answer = answer_take(inbox, submit(f, inbox, &bad));
    failed_check(&answer);
  }
}

/* However many there are in succession, with nobody in between, the engine goes on: it has looked itself, and is well.
 */
static void test_nobody_else(void **state) {
  struct fixture *f = *state;
  struct error error;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params good = params_make("b", 1);
  bad_ask(f, inbox, PROBE_AFTER - 1);
  metric_check(f, "llm_engine_probes_total{result=\"finite\"} 0\n");
  bad_ask(f, inbox, SPOILT_MANY);
  assert_true(runtime_healthy(f->runtime, &error));
  assert_false(metric_shows(f, "llm_engine_probes_total{result=\"finite\"} 0\n"));
  metric_check(f, "llm_engine_probes_total{result=\"not_finite\"} 0\n");
  struct answer answer = answer_take(inbox, submit(f, inbox, &good));
  assert_string_equal(answer.text, "a");
  runtime_inbox_close(f->runtime, inbox);
}

static void health_wait(struct fixture *f, bool healthy) {
  struct error error;
  while (runtime_healthy(f->runtime, &error) != healthy) usleep(1000);
  if (healthy) return;
  assert_int_equal(error.code, ERROR_INTERNAL);
  assert_string_equal(
      error.text, "The engine computes no finite numbers, neither for requests nor for tokens of its own choice: its "
                  "weights in memory are damaged, or the device is. Load it again (POST /admin/reload), or restart "
                  "the server; if that is no help, build the engine again.");
}

/* An engine that computes nothing that is finite knows that by itself, goes on, and is well when it does again. */
static void test_damaged(void **state) {
  struct fixture *f = *state;
  struct error error;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params good = params_make("b", 1);
  atomic_store(&script.damaged, true);
  bad_ask(f, inbox, PROBE_AFTER - 1);
  assert_true(runtime_healthy(f->runtime, &error));
  bad_ask(f, inbox, 1);
  health_wait(f, false);
  assert_false(metric_shows(f, "llm_engine_probes_total{result=\"not_finite\"} 0\n"));
  bad_ask(f, inbox, 1);
  atomic_store(&script.damaged, false);
  struct answer answer = answer_take(inbox, submit(f, inbox, &good));
  assert_string_equal(answer.text, "a");
  assert_true(runtime_healthy(f->runtime, &error)); /* who has a token has the proof */
  bad_ask(f, inbox, PROBE_AFTER);
  health_wait(f, true);
  runtime_inbox_close(f->runtime, inbox);
}

/* A runtime ends while it looks: the test's teardown would hang, or find memory that is gone. */
static void test_ends_while_probing(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params bad = spoilt_make();
  bad_ask(f, inbox, PROBE_AFTER - 1);
  pthread_mutex_lock(&script.gate);
  uint64_t id = submit(f, inbox, &bad);
  int before = atomic_load(&script.n_arrived);
  pthread_mutex_unlock(&script.gate);
  answer_take(inbox, id);
  while (atomic_load(&script.n_arrived) == before) usleep(100);
  runtime_inbox_close(f->runtime, inbox);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_neighbours_go_on, setup, teardown),
      cmocka_unit_test_setup_teardown(test_answers_fail_together, setup, teardown),
      cmocka_unit_test_setup_teardown(test_nobody_else, setup, teardown),
      cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
      cmocka_unit_test_setup_teardown(test_ends_while_probing, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
