/* Prefix reuse: what is found and what is not, between running sequences too, and what is forgotten first. */
#include "schedule_fixture.h"

/* Prompt tokens that a sequence of this prompt computes and finds when it runs to its end alone. */
static void run_alone(struct schedule *s, struct sequence q, int computed, int cached) {
  struct schedule_stats before = stats_of(s);
  schedule_add(s, &q, 0);
  while (*step_run(s, 0)) continue;
  struct schedule_stats after = stats_of(s);
  assert_int_equal(q.state, SEQUENCE_OUT);
  assert_int_equal(q.n_cached, cached);
  assert_int_equal(after.prompt_tokens - before.prompt_tokens, computed);
  assert_int_equal(after.cached_tokens - before.cached_tokens, cached);
  assert_int_equal(after.queried_tokens - before.queried_tokens, q.n_prompt);
}

static void test_found(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 64, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[TOKENS_MAX];
  struct sequence q = sequence_make(tokens, 19, 4);
  run_alone(s, q, 19, 0);
  run_alone(s, q, 3, 16);
  run_alone(s, sequence_make(tokens, 16, 1), 4, 12); /* the last token is always computed */
  run_alone(s, sequence_make(tokens, 17, 1), 1, 16);
  run_alone(s, sequence_make(tokens, 3, 1), 3, 0);
  q = sequence_make(tokens, 19, 1);
  q.salt.low = 1; /* another tenant's */
  run_alone(s, q, 19, 0);
  run_alone(s, q, 3, 16);
  q = sequence_make(tokens, 19, 1);
  tokens[9] = 50; /* in the third block */
  run_alone(s, q, 11, 8);
  schedule_free(s);
}

/* The answer is part of what the next turn of a conversation finds. */
static void test_conversation(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 64, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[TOKENS_MAX] = {0};
  run_alone(s, sequence_make(tokens, 10, 11), 10, 0); /* 20 tokens of it went through the network */
  struct sequence q = {.tokens = tokens, .n_prompt = 30, .max_tokens = 1};
  run_alone(s, q, 10, 20);
  schedule_free(s);
}

static void test_off(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 64, 64, 64);
  struct schedule_options options = {.limits = &limits, .n_group = 1, .no_reuse = true};
  struct schedule *s = schedule_new(&options);
  int32_t tokens[TOKENS_MAX];
  for (int i = 0; i < 2; i++) run_alone(s, sequence_make(tokens, 19, 2), 19, 0);
  schedule_free(s);
}

/* The second sequence of a prompt waits while the first computes it, the third, of another prompt, does not. */
static void test_waits(void **state) {
  (void)state;
  struct limits limits = limits_make(4, 20, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[3][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 32, 3), b = sequence_make(tokens[1], 32, 1),
                  c = sequence_make(tokens[2], 6, 2);
  tokens[2][0] = 9;
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  schedule_add(s, &c, 0);
  TRACES(s, "0+20", "20+12! 0+6!", "32+1! 6+1! 28+4!", "33+1!", "");
  assert_int_equal(b.n_cached, 28);
  assert_int_equal(stats_of(s).prompt_tokens, 32 + 4 + 6);
  schedule_free(s);
}

/* Nobody waits for a prompt that makes no progress. */
static void test_waits_for_no_paused(void **state) {
  (void)state;
  struct limits limits = limits_make(4, 8, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 32, 3), b = sequence_make(tokens[1], 16, 1);
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  TRACES(s, "0+8");
  schedule_pause(s, &a, true);
  TRACES(s, "8+8!");
  schedule_free(s);
}

/* Two run the same prompt side by side: a block that both hold is counted once. */
static void test_shared(void **state) {
  (void)state;
  struct limits limits = limits_make(4, 64, 64, 32);
  struct schedule *s = schedule_make(&limits, 2, 0);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 17, 8), b = sequence_make(tokens[1], 17, 8);
  schedule_add(s, &a, 0);
  TRACES(s, "0+17!");
  schedule_add(s, &b, 0);
  const struct batch *batch = schedule_next(s, 0);
  assert_string_equal(trace_of(batch), "17+1! 16+1!");
  for (int i = 0; i < 4; i++) assert_int_equal(batch->row[0].block[1][i], batch->row[1].block[1][i]);
  assert_int_not_equal(batch->row[0].block[0][4], batch->row[1].block[0][4]);
  step_finish(s, batch);
  assert_true(stats_of(s).kv_used == 6.0 / 32);
  assert_true(schedule_remove(s, &a));
  assert_true(stats_of(s).kv_used == 5.0 / 32);
  schedule_free(s);
}

/* Of two prompts the older goes first, and of it the last blocks. */
static void test_eviction(void **state) {
  (void)state;
  struct limits limits = limits_make(1, 32, 32, 8);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t a[TOKENS_MAX], b[TOKENS_MAX], c[TOKENS_MAX];
  struct sequence qa = sequence_make(a, 16, 1), qb = sequence_make(b, 16, 1), qc = sequence_make(c, 8, 1);
  b[0] = 50;
  c[0] = 60;
  run_alone(s, qa, 16, 0);
  run_alone(s, qb, 16, 0);
  run_alone(s, qc, 8, 0);
  a[17] = a[16] = 1;
  struct sequence longer = {.tokens = a, .n_prompt = 17, .max_tokens = 1};
  run_alone(s, longer, 9, 8); /* takes three more, of b */
  struct sequence again = {.tokens = b, .n_prompt = 16, .max_tokens = 1};
  run_alone(s, again, 12, 4);
  schedule_free(s);
}

/* Rows of its first tokens are not there: it starts where these are found, and nowhere else; others do not wait for it.
 */
static void test_blind(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 64, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[TOKENS_MAX], more[TOKENS_MAX];
  struct sequence q = sequence_make(tokens, 19, 1), other = sequence_make(more, 3, 1);
  q.n_token = q.n_prompt; /* as while it waits */
  assert_int_equal(schedule_found(s, &q), 0);
  run_alone(s, q, 19, 0);
  assert_int_equal(schedule_found(s, &q), 16);
  q.n_blind = 16;
  run_alone(s, q, 3, 16);
  q.n_blind = 17;
  schedule_add(s, &q, 0);
  schedule_add(s, &other, 0);
  TRACES(s, "0+3!", "");
  assert_true(q.blind && q.unready && q.state == SEQUENCE_WAITING);
  assert_true(schedule_remove(s, &q));
  q.n_blind = 0;
  q.unready = false;
  run_alone(s, q, 3, 16);
  schedule_free(s);
}

/* One that was out goes on behind what it had generated. */
static void test_goes_on(void **state) {
  (void)state;
  struct limits limits = limits_make(1, 64, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[TOKENS_MAX];
  struct sequence q = sequence_make(tokens, 6, 5);
  schedule_add(s, &q, 0);
  TRACES(s, "0+6!", "6+1!");
  assert_true(schedule_remove(s, &q));
  q.n_before = q.n_token - q.n_prompt;
  schedule_add(s, &q, 0);
  TRACES(s, "4+4!", "8+1!", "9+1!", "");
  assert_int_equal(q.state, SEQUENCE_OUT);
  assert_int_equal(q.n_token, 11);
  assert_int_equal(stats_of(s).queried_tokens, 6);
  schedule_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_found),
      cmocka_unit_test(test_conversation),
      cmocka_unit_test(test_off),
      cmocka_unit_test(test_waits),
      cmocka_unit_test(test_waits_for_no_paused),
      cmocka_unit_test(test_shared),
      cmocka_unit_test(test_eviction),
      cmocka_unit_test(test_blind),
      cmocka_unit_test(test_goes_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
