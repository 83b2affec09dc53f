/* Blocks run out: who goes, what it costs, when it comes back; and a cache of one block per sequence. */
#include "schedule_fixture.h"

/* Six blocks for two sequences that grow to four each. Admission sees that each will want one more. */
static void test_newest_goes(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 16, 64, 6);
  struct schedule_options options = {.limits = &limits, .n_group = 1, .no_reuse = true};
  struct schedule *s = schedule_new(&options);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 8, 6), b = sequence_make(tokens[1], 8, 6);
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  assert_int_equal(b.started_us, 0);
  assert_string_equal(step_run(s, 5), "0+8! 0+8!");
  TRACES(s, "8+1! 8+1!", "9+1! 9+1!", "10+1! 10+1!", "11+1! 11+1!");
  TRACES(s, "12+1!"); /* b has gone, and waits until there is room for all it knows */
  assert_int_equal(b.state, SEQUENCE_WAITING);
  assert_int_equal(b.n_token, 13);
  assert_string_equal(step_run(s, 9), "0+13!");
  assert_int_equal(b.started_us, 5);
  assert_true(a.n_preempted == 0 && b.n_preempted == 1);
  TRACES(s, "");
  assert_int_equal(b.n_token, 14);
  struct schedule_stats stats = stats_of(s);
  assert_int_equal(stats.preemptions, 1);
  assert_int_equal(stats.prompt_tokens, 16);
  assert_int_equal(stats.recomputed_tokens, 12);
  assert_int_equal(stats.generated_tokens, 12);
  assert_true(stats.kv_used == 0);
  schedule_free(s);
}

/* The lowest priority goes, even when it came first. */
static void test_priority_stays(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 16, 64, 5);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence low = sequence_make(tokens[0], 8, 6), high = sequence_make(tokens[1], 4, 6);
  tokens[1][0] = 9;
  low.priority = 1;
  schedule_add(s, &low, 0);
  TRACES(s, "0+8!");
  schedule_add(s, &high, 0);
  TRACES(s, "8+1! 0+4!", "4+1! 9+1!");
  TRACES(s, "5+1! 10+1!", "6+1! 11+1!", "7+1!");
  assert_int_equal(low.state, SEQUENCE_WAITING);
  schedule_free(s);
}

/* A preempted sequence that is part of a step goes when that step is done; nobody gets its blocks before. */
static void test_in_flight(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 16, 64, 4);
  struct schedule *s = schedule_make(&limits, 1, 1);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 4, 8), b = sequence_make(tokens[1], 4, 8);
  tokens[1][0] = 9;
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  const struct batch *out[2] = {schedule_next(s, 0), NULL};
  assert_string_equal(trace_of(out[0]), "0+4! 0+4!");
  for (int length = 4; length < 8; length++) {
    out[1] = schedule_next(s, 0);
    assert_int_equal(out[1]->n_row, 2);
    step_finish(s, out[0]);
    out[0] = out[1];
  }
  assert_null(schedule_next(s, 0)); /* a needs a third block: b is to go, but its last step is out */
  assert_int_equal(b.state, SEQUENCE_RUNNING);
  step_finish(s, out[0]);
  assert_int_equal(b.state, SEQUENCE_WAITING);
  assert_string_equal(trace_of(schedule_next(s, 0)), "8+1!");
  schedule_free(s);
}

/* A newcomer starts when there is room for its prompt and for those that run to grow. */
static void test_room_to_grow(void **state) {
  (void)state;
  struct limits limits = limits_make(3, 64, 64, 16);
  struct schedule_options options = {.limits = &limits, .n_group = 1, .no_reuse = true};
  struct schedule *s = schedule_new(&options);
  int32_t tokens[3][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 40, 2), b = sequence_make(tokens[1], 12, 9),
                  c = sequence_make(tokens[2], 8, 9);
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  schedule_add(s, &c, 0);
  TRACES(s, "0+40! 0+12!", "40+1! 12+1!");
  assert_int_equal(c.state, SEQUENCE_WAITING);
  TRACES(s, "13+1! 0+8!"); /* a is over */
  schedule_free(s);
}

/* Who has been preempted returns only when an eighth of the cache stays free beside it. */
static void test_hysteresis(void **state) {
  (void)state;
  struct limits limits = limits_make(4, 64, 64, 19);
  struct schedule_options options = {.limits = &limits, .n_group = 1, .no_reuse = true};
  struct schedule *s = schedule_new(&options);
  int32_t tokens[4][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 24, 8), b = sequence_make(tokens[1], 24, 8),
                  paused = sequence_make(tokens[2], 12, 2), c = sequence_make(tokens[3], 4, 8);
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  schedule_add(s, &paused, 0);
  schedule_add(s, &c, 0);
  TRACES(s, "0+24! 0+24! 0+12! 0+4!");
  schedule_pause(s, &paused, true);
  TRACES(s, "24+1! 24+1! 4+1!", "25+1! 25+1! 5+1!", "26+1! 26+1! 6+1!", "27+1! 27+1! 7+1!", "28+1! 28+1!");
  assert_int_equal(c.state, SEQUENCE_WAITING);
  assert_true(schedule_remove(s, &paused)); /* the three blocks that c needs are free, but two more are wanted */
  TRACES(s, "29+1! 29+1!", "30+1! 30+1!", "0+9!", "9+1!");
  assert_int_equal(stats_of(s).preemptions, 1);
  schedule_free(s);
}

/* CONTIGUOUS: a block holds the longest sequence, so each takes its one block when it starts. */
static void test_contiguous(void **state) {
  (void)state;
  struct limits limits = limits_make(4, 64, 64, 2);
  limits.block_size = 64;
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[3][TOKENS_MAX];
  struct sequence q[3];
  for (int i = 0; i < 3; i++) {
    q[i] = sequence_make(tokens[i], 5, 2 + i);
    tokens[i][0] = i;
    schedule_add(s, &q[i], 0);
  }
  TRACES(s, "0+5! 0+5!", "5+1! 5+1!", "6+1! 0+5!", "5+1!", "6+1!", "7+1!", "");
  assert_int_equal(stats_of(s).preemptions, 0);
  schedule_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_newest_goes), cmocka_unit_test(test_priority_stays), cmocka_unit_test(test_in_flight),
      cmocka_unit_test(test_hysteresis),  cmocka_unit_test(test_contiguous),     cmocka_unit_test(test_room_to_grow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
