/* Ends from outside in each phase of a request, be it of one answer, of several, or a beam search: cancelled, it is
 * over within a step, and its seats and its blocks are free, as the metrics tell; when the device fails it says so
 * once. Steps pass a gate one by one, so that the phase is known. On a backend that answers at once, and on one that is
 * a step late.
 */
#include "runtime_fixture.h"

#include "base/buffer.h"

#include <limits.h>
#include <pthread.h>

enum { PROMPT = 40, WAIT_US = 1000, STILL_US = 30000 };

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int arrived, allowed; /* steps that were submitted so far, and how many may go on */
  int failing;          /* that one fails; 0: none */
  const struct backend *base;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool gated_submit(struct program *program, const struct batch *batch, struct error *error) {
  pthread_mutex_lock(&gate.lock);
  gate.arrived++;
  pthread_cond_broadcast(&gate.changed);
  while (gate.arrived > gate.allowed) pthread_cond_wait(&gate.changed, &gate.lock);
  bool fails = gate.arrived == gate.failing;
  pthread_mutex_unlock(&gate.lock);
  if (fails) return error_set(error, ERROR_DEVICE, "The device is on fire.");
  return gate.base->submit(program, batch, error);
}

static void steps_allow(int count) {
  pthread_mutex_lock(&gate.lock);
  gate.allowed = count;
  pthread_cond_broadcast(&gate.changed);
  pthread_mutex_unlock(&gate.lock);
}

/* Until so many have come to the gate. */
static void steps_await(int count) {
  pthread_mutex_lock(&gate.lock);
  while (gate.arrived < count) pthread_cond_wait(&gate.changed, &gate.lock);
  pthread_mutex_unlock(&gate.lock);
}

static int steps_arrived(void) {
  pthread_mutex_lock(&gate.lock);
  int arrived = gate.arrived;
  pthread_mutex_unlock(&gate.lock);
  return arrived;
}

/* --- fixture ------------------------------------------------------------------------------------------------------ */

static struct backend backend;

static void gated_open(struct fixture *f, const struct backend *base) {
  gate.base = base;
  gate.arrived = gate.allowed = gate.failing = 0;
  backend = *base;
  backend.submit = gated_submit;
  fixture_open(f, &backend);
}

static void gated_close(struct fixture *f) {
  steps_allow(INT_MAX);
  fixture_close(f);
}

static double metric_of(struct fixture *f, const char *name) {
  struct buffer page;
  char line[128];
  buffer_init(&page, 1 << 20);
  assert_true(runtime_metrics(f->runtime, &page) && buffer_append(&page, "", 1));
  snprintf(line, sizeof line, "\n%s ", name);
  const char *at = strstr(page.data, line);
  if (!at) fail_msg("there is no metric %s", name);
  double value = strtod(at + strlen(line), NULL);
  buffer_release(&page);
  return value;
}

static void metric_await(struct fixture *f, const char *name, double value) {
  while (metric_of(f, name) != value) usleep(WAIT_US);
}

static void all_free(struct fixture *f) {
  metric_await(f, "llm_requests_running", 0);
  metric_await(f, "llm_requests_waiting", 0);
  metric_await(f, "llm_kv_cache_usage_ratio", 0);
}

/* The last event of one of the request's answers. */
static struct inbox_event last_take(struct inbox *inbox, uint64_t id) {
  struct inbox_event event;
  do {
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    assert_int_equal(event.request, id);
  } while (event.kind == INBOX_TEXT || event.kind == INBOX_PROMPT);
  return event;
}

static void cancelled_take(struct inbox *inbox, uint64_t id, int generated) {
  struct inbox_event event = last_take(inbox, id);
  assert_int_equal(event.kind, INBOX_DONE);
  assert_int_equal(event.finish, FINISH_CANCELLED);
  if (generated >= 0) assert_int_equal(event.generated, generated);
}

/* --- phases ------------------------------------------------------------------------------------------------------- */

static const struct shape {
  int n_answer, n_beam;
  bool scores;
} shapes[] = {{1, 0, false}, {3, 0, false}, {TINY_SEATS + 2, 0, true}, {2, 3, false}, {1, 2, true}};

enum { N_SHAPE = sizeof shapes / sizeof *shapes, STEPS = PROMPT / TINY_TOKENS + 5 };

/* A prompt of PROMPT tokens in chunks, then its answers. The first bytes of the stop string are what `null` answers. */
static uint64_t shape_submit(struct fixture *f, struct inbox *inbox, const struct shape *shape) {
  static const struct slice stop = {(const uint8_t *)"\0\0x", 3};
  char prompt[PROMPT + 1] = {0};
  memset(prompt, 'a', PROMPT);
  struct request_params params = params_make(prompt, TINY_LENGTH);
  params.n_answer = shape->n_answer;
  params.n_beam = shape->n_beam;
  params.scores_prompt = shape->scores;
  params.stop = &stop;
  params.n_stop = 1;
  return submit(f, inbox, &params);
}

/* With `steps` of its steps begun and one more at the gate. Of a search that is not over there is nothing to tell. */
static void cancel_after(const struct backend *base, const struct shape *shape, int steps) {
  struct fixture f = {0};
  gated_open(&f, base);
  fixture_start(&f);
  struct inbox *inbox = inbox_make(&f);
  uint64_t id = shape_submit(&f, inbox, shape);
  steps_allow(steps);
  steps_await(steps + 1);
  runtime_cancel(f.runtime, id);
  steps_allow(INT_MAX);
  for (int i = 0; i < shape->n_answer; i++) {
    struct inbox_event event = last_take(inbox, id);
    assert_true(event.kind == INBOX_DONE && event.finish == FINISH_CANCELLED);
    if (shape->n_beam > 0) assert_true(event.generated == 0 && event.text.size == 0);
  }
  all_free(&f);
  assert_int_equal(steps_arrived(), steps + 1);
  assert_true(metric_of(&f, "llm_prompt_tokens_total") <= TINY_TOKENS * (steps + 1));
  runtime_inbox_close(f.runtime, inbox);
  gated_close(&f);
}

static void test_prefilling_and_decoding(void **state) {
  (void)state;
  for (int i = 0; i < N_SHAPE * STEPS; i++) {
    cancel_after(&backend_null, &shapes[i % N_SHAPE], i / N_SHAPE);
    cancel_after(&backend_late, &shapes[i % N_SHAPE], i / N_SHAPE);
  }
}

/* The step after so many fails: one event says so, however many answers are wanted. */
static void fail_after(const struct backend *base, const struct shape *shape, int steps) {
  struct fixture f = {0};
  gated_open(&f, base);
  gate.failing = steps + 1;
  fixture_start(&f);
  struct inbox *inbox = inbox_make(&f);
  uint64_t id = shape_submit(&f, inbox, shape);
  steps_allow(INT_MAX);
  struct inbox_event event = last_take(inbox, id);
  assert_true(event.kind == INBOX_FAILED && event.code == ERROR_DEVICE);
  assert_true(slice_equal(event.text, slice_text("The device is on fire.")));
  assert_int_equal(inbox_take(inbox, &event, 1, 0), 0);
  runtime_inbox_close(f.runtime, inbox);
  gated_close(&f);
}

static void test_failing(void **state) {
  (void)state;
  for (int i = 0; i < N_SHAPE * STEPS; i++) {
    fail_after(&backend_null, &shapes[i % N_SHAPE], i / N_SHAPE);
    fail_after(&backend_late, &shapes[i % N_SHAPE], i / N_SHAPE);
  }
}

/* Lets steps pass until a metric has a value. Returns how many have. */
static int steps_until(struct fixture *f, const char *name, double value, int allowed) {
  while (metric_of(f, name) != value) {
    steps_await(allowed + 1);
    steps_allow(++allowed);
    usleep(WAIT_US);
  }
  return allowed;
}

static void cancel_queued(const struct backend *base) {
  struct fixture f = {0};
  gated_open(&f, base);
  fixture_start(&f);
  struct inbox *inbox = inbox_make(&f), *other = inbox_make(&f);
  static const int32_t token = 'a'; /* needs no worker: once submitted a request is the step thread's */
  struct request_params params = params_make("", TINY_LENGTH);
  params.tokens = &token;
  params.n_token = 1;
  for (int i = 0; i < TINY_SEATS; i++) submit(&f, other, &params);
  int allowed = steps_until(&f, "llm_requests_running", TINY_SEATS, 0);
  uint64_t id = submit(&f, inbox, &params);
  allowed = steps_until(&f, "llm_requests_waiting", 1, allowed);
  steps_await(allowed + 1);
  runtime_cancel(f.runtime, id);
  steps_allow(allowed + 1);
  cancelled_take(inbox, id, 0);
  assert_true(steps_arrived() <= allowed + 2);
  assert_true(metric_of(&f, "llm_requests_running") == TINY_SEATS);
  runtime_cancel(f.runtime, 0);
  steps_allow(INT_MAX);
  all_free(&f);
  runtime_inbox_close(f.runtime, inbox);
  runtime_inbox_close(f.runtime, other);
  gated_close(&f);
}

static void test_queued(void **state) {
  (void)state;
  cancel_queued(&backend_null);
  cancel_queued(&backend_late);
}

static bool letters_collect(struct program *program, struct result *result, struct error *error) {
  static int32_t letter[TINY_SEATS];
  if (!backend_null.collect(program, result, error)) return false;
  for (int i = 0; i < result->n_out; i++) letter[i] = 'a';
  result->token = letter;
  return true;
}

/* Its client reads nothing, so that there is no room for another event, nor for its last. */
static void test_paused(void **state) {
  enum { ENDLESS = 30000 };
  struct fixture f = {0};
  (void)state;
  gated_open(&f, &backend_null);
  backend.collect = letters_collect; /* each token is an event */
  f.engine->limits.length = 2 * ENDLESS;
  f.engine->limits.n_block[0] = 2 * ENDLESS / 16 * TINY_SEATS;
  fixture_start(&f);
  struct inbox *inbox = inbox_make(&f);
  struct request_params params = params_make("a", ENDLESS);
  steps_allow(INT_MAX);
  uint64_t id = submit(&f, inbox, &params);
  steps_await(TINY_LENGTH);
  for (int before = 0; before != steps_arrived();) {
    before = steps_arrived();
    usleep(STILL_US);
  }
  assert_true(steps_arrived() < ENDLESS && metric_of(&f, "llm_requests_running") == 1);
  runtime_cancel(f.runtime, id);
  all_free(&f);
  cancelled_take(inbox, id, -1);
  runtime_inbox_close(f.runtime, inbox);
  gated_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_prefilling_and_decoding),
      cmocka_unit_test(test_failing),
      cmocka_unit_test(test_queued),
      cmocka_unit_test(test_paused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
