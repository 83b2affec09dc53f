/* The schedule: what goes into a step, in which order and how much; pausing, leaving, what never fits. */
#include "schedule_fixture.h"

static void test_chunks(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 8, 64, 32);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[TOKENS_MAX];
  struct sequence q = sequence_make(tokens, 19, 3);
  schedule_add(s, &q, 0);
  static const struct {
    int count, length, outputs;
  } expected[] = {{8, 0, 0}, {8, 8, 0}, {3, 16, 1}, {1, 19, 1}, {1, 20, 1}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    const struct batch *batch = schedule_next(s, 0);
    assert_non_null(batch);
    assert_int_equal(batch->n_row, 1);
    assert_int_equal(batch->row[0].count, expected[i].count);
    assert_int_equal(batch->row[0].length, expected[i].length);
    assert_int_equal(batch->n_out, expected[i].outputs);
    int blocks = (expected[i].length + expected[i].count + BLOCK - 1) / BLOCK;
    assert_int_equal(batch->row[0].n_block[0], blocks); /* no more than the chunk needs */
    if (batch->n_out) assert_int_equal(batch->sampling[0].index, i - 2);
    assert_int_equal(step_finish(s, batch).n_event, expected[i].outputs);
  }
  assert_null(schedule_next(s, 0)); /* it has all its tokens: its owner removes it */
  assert_int_equal(tokens[19], 100);
  assert_true(schedule_remove(s, &q));
  struct schedule_stats stats = stats_of(s);
  assert_int_equal(stats.prompt_tokens, 19);
  assert_int_equal(stats.generated_tokens, 3);
  assert_true(stats.kv_used == 0);
  schedule_free(s);
}

/* Streams first, then prompts in the order in which they came, then newcomers. While a stream runs, prompts get a
 * quarter of the step (nothing has been measured: time stands still). */
static void test_ragged(void **state) {
  (void)state;
  struct limits limits = limits_make(4, 64, 64, 64);
  struct schedule *s = schedule_make(&limits, 2, 0);
  int32_t tokens[4][TOKENS_MAX];
  struct sequence q[4] = {sequence_make(tokens[0], 5, 6), sequence_make(tokens[1], 60, 4),
                          sequence_make(tokens[2], 40, 2), sequence_make(tokens[3], 3, 1)};
  for (int i = 0; i < 4; i++) tokens[i][0] = i; /* nothing to share */
  schedule_add(s, &q[0], 0);
  schedule_add(s, &q[1], 0);
  TRACES(s, "0+5! 0+59", "5+1! 59+1!");
  schedule_add(s, &q[2], 0);
  schedule_add(s, &q[3], 0);
  TRACES(s, "6+1! 60+1! 0+32", "7+1! 61+1! 32+8! 0+3!", "8+1! 62+1! 40+1!", "9+1!", "");
  assert_int_equal(stats_of(s).running, 0);
  schedule_free(s);
}

static void test_order(void **state) {
  (void)state;
  struct limits limits = limits_make(1, 8, 64, 32);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[3][TOKENS_MAX];
  struct sequence q[3];
  static const int32_t priority[] = {1, 0, 0};
  for (int i = 0; i < 3; i++) {
    q[i] = sequence_make(tokens[i], 2, 1);
    q[i].priority = priority[i];
    schedule_add(s, &q[i], 0);
  }
  static const int expected[] = {1, 2, 0};
  for (int i = 0; i < 3; i++) {
    struct schedule_events events = step_finish(s, schedule_next(s, 0));
    assert_int_equal(events.n_event, 1);
    assert_ptr_equal(events.event[0].sequence, &q[expected[i]]);
    assert_true(schedule_remove(s, events.event[0].sequence));
  }
  schedule_free(s);
}

/* Seats, tokens and outputs hold; what finds no place in a step comes in the next. */
static void test_limits(void **state) {
  (void)state;
  struct limits limits = limits_make(3, 4, 64, 64);
  limits.outputs = 2;
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[4][TOKENS_MAX];
  struct sequence q[4];
  for (int i = 0; i < 4; i++) {
    q[i] = sequence_make(tokens[i], 1, 2);
    tokens[i][0] = i;
    schedule_add(s, &q[i], 0);
  }
  TRACES(s, "0+1! 0+1!", "1+1! 1+1!", "0+1! 0+1!", "1+1! 1+1!", "");
  schedule_free(s);
}

/* A paused sequence keeps its place and does not hold up the next one. */
static void test_pause(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 8, 64, 32);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 2, 4), b = sequence_make(tokens[1], 3, 4);
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  TRACES(s, "0+2! 0+3!");
  schedule_pause(s, &a, true);
  TRACES(s, "3+1!");
  schedule_pause(s, &b, true);
  TRACES(s, "");
  schedule_pause(s, &a, false);
  TRACES(s, "2+1!");
  schedule_free(s);
}

/* But not for ever: after 64 steps it gives up its seat to one that waits, and comes back when its owner reads. */
static void test_pause_long(void **state) {
  (void)state;
  struct limits limits = limits_make(1, 8, 64, 32);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 9, 4), b = sequence_make(tokens[1], 3, 1);
  tokens[1][0] = 7;
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  TRACES(s, "0+8", "8+1!");
  schedule_pause(s, &a, true);
  for (int i = 0; i < 63; i++) TRACES(s, "");
  TRACES(s, "0+3!", "");
  schedule_pause(s, &a, false);
  TRACES(s, "8+2!"); /* its full blocks were still there */
  assert_int_equal(a.n_token, 11);
  assert_int_equal(stats_of(s).preemptions, 1);
  schedule_free(s);
}

/* Removed while its steps are out: it stays until the last is done, then leaves with an event. */
static void test_remove_in_flight(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 8, 64, 32);
  struct schedule *s = schedule_make(&limits, 2, 1);
  int32_t tokens[TOKENS_MAX];
  struct sequence q = sequence_make(tokens, 2, 4);
  schedule_add(s, &q, 0);
  const struct batch *batch = schedule_next(s, 0), *second = schedule_next(s, 0);
  assert_int_equal(second->token[0], -1); /* only the device knows it yet */
  assert_int_equal(second->row[0].length, 2);
  assert_int_equal(second->sampling[0].index, 1);
  assert_null(schedule_next(s, 0));
  assert_false(schedule_remove(s, &q));
  assert_int_equal(step_finish(s, batch).n_event, 0);
  struct schedule_events events = step_finish(s, second);
  assert_int_equal(events.n_event, 1);
  assert_int_equal(events.event[0].kind, EVENT_OUT);
  assert_int_equal(q.state, SEQUENCE_OUT);
  assert_true(stats_of(s).kv_used == 0);
  schedule_free(s);
}

static void test_fits(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 8, 64, 8);
  struct schedule *s = schedule_make(&limits, 1, 0);
  struct error error;
  assert_true(schedule_fits(s, 30, 2, 0, &error));
  assert_false(schedule_fits(s, 30, 3, 0, &error));
  assert_string_equal(error.text, "33 tokens need 9 KV blocks; the cache has 8: ask for less or give it more memory.");
  assert_false(schedule_fits(s, 60, 5, 0, &error));
  assert_string_equal(error.text, "The prompt has 60 tokens and 5 more are asked for: 65, more than max_seq_len 64.");
  schedule_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chunks), cmocka_unit_test(test_ragged),
      cmocka_unit_test(test_order),  cmocka_unit_test(test_limits),
      cmocka_unit_test(test_pause),  cmocka_unit_test(test_pause_long),
      cmocka_unit_test(test_fits),   cmocka_unit_test(test_remove_in_flight),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
