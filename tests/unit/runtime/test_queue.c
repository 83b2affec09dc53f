/* The queue in front of the runtime: how much may wait, who gives up places, who waits in vain. */
#include "script_fixture.h"

#include "base/clock.h"
#include "runtime/runtime_state.h"
#include "schedule/schedule_state.h"

/* TINY_QUEUE besides the seats; the next is refused, and taken again once there is room. */
static void test_full(void **state) {
  struct fixture *f = *state;
  enum { ROOM = TINY_QUEUE + TINY_SEATS };
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("a", 1);
  struct error error = {0};
  pthread_mutex_lock(&script.gate);
  for (int i = 0; i < ROOM; i++) submit(f, inbox, &params);
  assert_int_equal(runtime_submit(f->runtime, inbox, &params, &error), 0);
  assert_int_equal(error.code, ERROR_BUSY);
  assert_string_equal(error.text, "64 requests are waiting or running, as many as allowed: try again later.");
  pthread_mutex_unlock(&script.gate);
  struct inbox_event event;
  for (int i = 0; i < ROOM; i++) {
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    assert_int_equal(event.kind, INBOX_DONE);
  }
  while (!runtime_submit(f->runtime, inbox, &params, &error)) assert_int_equal(error.code, ERROR_BUSY);
  runtime_inbox_close(f->runtime, inbox);
}

static void busy_check(struct fixture *f, struct inbox *inbox, const struct request_params *params,
                       const char *sentence) {
  struct error error;
  assert_int_equal(runtime_submit(f->runtime, inbox, params, &error), 0);
  assert_int_equal(error.code, ERROR_BUSY);
  assert_string_equal(error.text, sentence);
}

/* Those who matter less give up their places, who came last first; nobody does for an equal. */
static void test_sheds(void **state) {
  struct fixture *f = *state;
  enum { ROOM = TINY_QUEUE + TINY_SEATS, BETTER = 10 };
  static const char sentence[] = "The queue was full and a request of a better priority than 5 has taken the place of "
                                 "this one: try again later.";
  uint64_t id[ROOM];
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params low = params_make("a", 1), better = params_make("b", 1);
  low.priority = 5;
  better.priority = -3;
  pthread_mutex_lock(&script.gate);
  for (int i = 0; i < ROOM; i++) id[i] = submit(f, inbox, &low);
  busy_check(f, inbox, &low, "64 requests are waiting or running, as many as allowed: try again later.");
  for (int i = 0; i < BETTER; i++) submit(f, inbox, &better);
  busy_check(f, inbox, &low, "64 requests are waiting or running, as many as allowed: try again later.");
  pthread_mutex_unlock(&script.gate);
  for (int i = 0, shed = 0; i < ROOM + BETTER; i++) {
    struct inbox_event event;
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    if (event.kind == INBOX_DONE) continue;
    assert_int_equal(event.kind, INBOX_FAILED);
    assert_int_equal(event.code, ERROR_BUSY);
    assert_true(slice_is(event.text, sentence));
    assert_true(event.request >= id[ROOM - BETTER] && ++shed <= BETTER);
  }
  metric_check(f, "\nllm_requests_shed_total{priority=\"low\",reason=\"place\"} 10\n");
  metric_check(f, "\nllm_requests_finished_total{reason=\"failed\"} 0\n");
  runtime_inbox_close(f->runtime, inbox);
}

/* Tokens make room too: as many go as are needed, and none when those of all would not be enough. */
static void test_sheds_tokens(void **state) {
  struct fixture *f = *state;
  static const int32_t tokens[20] = {'x'};
  f->max_queue_tokens = 50;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params low = params_make("", 5), better = params_make("", 10), best = params_make("", 44);
  low.tokens = better.tokens = best.tokens = tokens;
  low.n_token = 5;
  low.priority = 1;
  better.n_token = 15;
  best.n_token = 16;
  pthread_mutex_lock(&script.gate);
  uint64_t first = submit(f, inbox, &better); /* 25 */
  submit(f, inbox, &low);                     /* 35 */
  submit(f, inbox, &low);                     /* 45 */
  busy_check(
      f, inbox, &best,
      "The waiting requests have 45 tokens; 60 more would pass the limit of 50: try again later, or ask for fewer "
      "(max_tokens).");
  uint64_t second = submit(f, inbox, &better); /* 50: both low ones went */
  pthread_mutex_unlock(&script.gate);
  for (int i = 0; i < 4; i++) {
    struct inbox_event event;
    do assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    while (event.kind == INBOX_TEXT);
    assert_int_equal(event.kind == INBOX_DONE, event.request == first || event.request == second);
  }
  metric_check(f, "\nllm_requests_shed_total{priority=\"low\",reason=\"place\"} 2\n");
  runtime_inbox_close(f->runtime, inbox);
}

/* Who would begin after its time is told at once. That those who wait start one a minute is not measured here but said,
 * and the next look at the queue is due when the step that all wait for has ended. */
static void test_hopeless(void **state) {
  struct fixture *f = *state;
  enum { WAITING = 20 };
  static const int32_t tokens[1] = {'x'};
  struct request_params plain = params_make("", 1), hurried = params_make("", 1);
  struct inbox_event event;
  struct error error;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  plain.tokens = hurried.tokens = tokens;
  plain.n_token = hurried.n_token = 1;
  hurried.timeout_s = 600;
  assert_true(runtime_park(f->runtime, &error));
  f->runtime->schedule->starts = (struct start_pace){.interval_us = 60e6, .n_start = 32};
  runtime_resume(f->runtime);
  pthread_mutex_lock(&script.gate);
  for (int i = 0; i < WAITING; i++) submit(f, inbox, &plain);
  while (atomic_load(&script.n_arrived) == 0) usleep(1000);
  uint64_t begun_us = clock_us();
  for (int i = 0; i < WAITING; i++) submit(f, inbox, &plain);
  uint64_t in_vain = submit(f, inbox, &hurried);
  while (clock_us() - begun_us <= 100000) usleep(1000);
  pthread_mutex_unlock(&script.gate);
  for (int i = 0; i < 2 * WAITING + 1; i++) {
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    assert_int_equal(event.kind, event.request == in_vain ? INBOX_FAILED : INBOX_DONE);
    if (event.request != in_vain) continue;
    assert_int_equal(event.code, ERROR_BUSY);
    assert_non_null(memmem(event.text.data, event.text.size, "timeout_s of 600 is over", 24));
    metric_check(f, "\nllm_requests_shed_total{priority=\"normal\",reason=\"timeout\"} 1\n");
  }
  runtime_inbox_close(f->runtime, inbox);
}

/* Tokens of prompt and answer wait until the first one of the answer comes. One request is never too many. */
static void test_tokens(void **state) {
  struct fixture *f = *state;
  static const int32_t tokens[20] = {'x'};
  f->max_queue_tokens = 24;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params large = params_make("", 30), small = params_make("", 4);
  large.tokens = small.tokens = tokens;
  large.n_token = 20;
  small.n_token = 6;
  pthread_mutex_lock(&script.gate);
  uint64_t first = submit(f, inbox, &large);
  busy_check(
      f, inbox, &small,
      "The waiting requests have 50 tokens; 10 more would pass the limit of 24: try again later, or ask for fewer "
      "(max_tokens).");
  pthread_mutex_unlock(&script.gate);
  answer_take(inbox, first);
  pthread_mutex_lock(&script.gate);
  uint64_t id[2] = {submit(f, inbox, &small), submit(f, inbox, &small)}; /* 20 of 24: what has begun waits no longer */
  busy_check(
      f, inbox, &small,
      "The waiting requests have 20 tokens; 10 more would pass the limit of 24: try again later, or ask for fewer "
      "(max_tokens).");
  runtime_cancel(f->runtime, id[0]);
  pthread_mutex_unlock(&script.gate);
  for (int ended = 0; ended < 2;) {
    struct inbox_event event;
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    ended += event.kind == INBOX_DONE;
  }
  runtime_inbox_close(f->runtime, inbox);
}

/* A text counts as its bytes until the worker has made tokens of it. */
static void test_text(void **state) {
  struct fixture *f = *state;
  static const int32_t tokens[10] = {'x'};
  struct error error;
  f->max_queue_tokens = 24;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params text = params_make("<|begin|><|begin|>", 2), after = params_make("", 10);
  after.tokens = tokens;
  after.n_token = 10;
  pthread_mutex_lock(&script.gate);
  submit(f, inbox, &text);
  uint64_t id;
  while (!(id = runtime_submit(f->runtime, inbox, &after, &error))) assert_int_equal(error.code, ERROR_BUSY);
  busy_check(
      f, inbox, &after,
      "The waiting requests have 24 tokens; 20 more would pass the limit of 24: try again later, or ask for fewer "
      "(max_tokens).");
  pthread_mutex_unlock(&script.gate);
  runtime_inbox_close(f->runtime, inbox);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_full, setup, teardown),
      cmocka_unit_test_setup_teardown(test_sheds, setup, teardown),
      cmocka_unit_test_setup_teardown(test_sheds_tokens, setup, teardown),
      cmocka_unit_test_setup_teardown(test_hopeless, setup, teardown),
      cmocka_unit_test_setup_teardown(test_tokens, setup, teardown),
      cmocka_unit_test_setup_teardown(test_text, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
