/* The schedule: chunks, order, blocks and seats, and a million random steps that keep its invariants. */
#include "schedule/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS_MAX = 64 };

static struct limits limits_make(int seats, int tokens, int length, uint32_t blocks) {
  return (struct limits){.seats = seats,
                         .tokens = tokens,
                         .outputs = seats,
                         .length = length,
                         .opt_batch = 1,
                         .block_size = 4,
                         .n_block = {blocks, blocks}};
}

static struct schedule *schedule_make(const struct limits *limits, int n_group, int run_ahead) {
  struct schedule_options options = {.limits = limits, .n_group = n_group, .run_ahead = run_ahead};
  return schedule_new(&options);
}

static struct sequence sequence_make(int32_t *tokens, int n_prompt, int max_tokens) {
  for (int i = 0; i < n_prompt; i++) tokens[i] = i;
  return (struct sequence){.tokens = tokens, .n_prompt = n_prompt, .max_tokens = max_tokens};
}

/* Ends the oldest step with tokens 100, 101, …; the events are the caller's to look at. */
static struct schedule_events step_finish(struct schedule *s, const struct batch *batch) {
  static int32_t token[TOKENS_MAX];
  static float logprob[TOKENS_MAX];
  for (int i = 0; i < batch->n_out; i++) token[i] = 100 + i;
  struct result result = {.n_out = batch->n_out, .token = token, .logprob = logprob};
  struct schedule_events events;
  schedule_done(s, &result, 0, &events);
  return events;
}

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
    assert_true(batch->row[0].n_block[0] * limits.block_size >= batch->row[0].length + batch->row[0].count);
    if (batch->n_out) assert_int_equal(batch->sampling[0].index, i - 2);
    assert_int_equal(step_finish(s, batch).n_event, expected[i].outputs);
  }
  assert_null(schedule_next(s, 0)); /* it has all its tokens: its owner removes it */
  assert_int_equal(tokens[19], 100);
  assert_true(schedule_remove(s, &q));
  struct schedule_stats stats;
  schedule_stats(s, &stats);
  assert_int_equal(stats.prompt_tokens, 19);
  assert_int_equal(stats.generated_tokens, 3);
  assert_true(stats.kv_used == 0);
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

/* A paused sequence keeps its seat and does not hold up the next one. */
static void test_pause(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 8, 64, 32);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence a = sequence_make(tokens[0], 2, 4), b = sequence_make(tokens[1], 3, 4);
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  step_finish(s, schedule_next(s, 0));
  schedule_pause(s, &a, true);
  const struct batch *batch = schedule_next(s, 0);
  assert_int_equal(batch->n_row, 1);
  assert_int_equal(batch->row[0].length, 3);
  step_finish(s, batch);
  schedule_pause(s, &b, true);
  assert_null(schedule_next(s, 0));
  schedule_pause(s, &a, false);
  batch = schedule_next(s, 0);
  assert_int_equal(batch->row[0].length, 2);
  step_finish(s, batch);
  schedule_free(s);
}

/* Removed while its step is out: it stays until that step is done, then leaves with an event. */
static void test_remove_in_flight(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 8, 64, 32);
  struct schedule *s = schedule_make(&limits, 2, 1);
  int32_t tokens[TOKENS_MAX];
  struct sequence q = sequence_make(tokens, 2, 4);
  schedule_add(s, &q, 0);
  const struct batch *batch = schedule_next(s, 0);
  const struct batch *second = schedule_next(s, 0);
  assert_int_equal(second->token[0], -1); /* only the device knows it yet */
  assert_int_equal(second->row[0].length, 2);
  assert_int_equal(second->sampling[0].index, 1);
  assert_null(schedule_next(s, 0));
  assert_false(schedule_remove(s, &q));
  assert_int_equal(step_finish(s, batch).n_event, 0);
  struct schedule_events events = step_finish(s, second);
  assert_int_equal(events.n_event, 1);
  assert_int_equal(events.event[0].token, -1);
  assert_int_equal(q.state, SEQUENCE_OUT);
  schedule_free(s);
}

static void test_fits(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 8, 64, 8);
  struct schedule *s = schedule_make(&limits, 1, 0);
  struct error error;
  assert_true(schedule_fits(s, 30, 2, &error));
  assert_false(schedule_fits(s, 30, 3, &error));
  assert_string_equal(error.text, "33 tokens need 9 KV blocks; the cache has 8: ask for less or give it more memory.");
  assert_false(schedule_fits(s, 60, 5, &error));
  assert_string_equal(error.text, "The prompt has 60 tokens and 5 more are asked for: 65, more than max_seq_len 64.");
  schedule_free(s);
}

/* --- random walks ------------------------------------------------------------------------------------------------- */

enum { WALKERS = 12, WALK_STEPS = 100000 };

struct walker {
  struct sequence sequence;
  int32_t tokens[TOKENS_MAX];
  bool in;
};

static uint32_t draw(uint32_t *state, uint32_t below) {
  *state = *state * 1664525u + 1013904223u;
  return (*state >> 8) % below;
}

/* No block that is written belongs to two rows. */
static void blocks_check(const struct batch *batch, uint32_t n_block) {
  bool used[64] = {false};
  for (int r = 0; r < batch->n_row; r++)
    for (int i = batch->row[r].length / 4; i < batch->row[r].n_block[0]; i++) {
      assert_true(batch->row[r].block[0][i] < n_block);
      assert_false(used[batch->row[r].block[0][i]]);
      used[batch->row[r].block[0][i]] = true;
    }
}

static void walker_start(struct schedule *s, struct walker *w, uint32_t *seed) {
  w->sequence = sequence_make(w->tokens, 1 + (int)draw(seed, 30), 1 + (int)draw(seed, 8));
  w->sequence.priority = (int32_t)draw(seed, 3);
  w->sequence.owner = w;
  w->in = true;
  schedule_add(s, &w->sequence, 0);
}

static void walker_poke(struct schedule *s, struct walker *w, uint32_t *seed) {
  if (!w->in) {
    walker_start(s, w, seed);
  } else if (draw(seed, 8) == 0) {
    if (schedule_remove(s, &w->sequence)) w->in = false;
  } else if (w->sequence.state == SEQUENCE_RUNNING && !w->sequence.leaving) {
    schedule_pause(s, &w->sequence, draw(seed, 3) == 0);
  }
}

static void events_apply(struct schedule *s, const struct schedule_events *events) {
  for (int i = 0; i < events->n_event; i++) {
    struct walker *w = events->event[i].sequence->owner;
    const struct sequence *q = &w->sequence;
    bool full = q->n_token == q->n_prompt + q->max_tokens;
    if (events->event[i].token < 0 || (full && schedule_remove(s, &w->sequence))) w->in = false;
  }
}

static void walk(int run_ahead) {
  struct limits limits = limits_make(4, 8, 40, 24);
  struct schedule *s = schedule_make(&limits, 1, run_ahead);
  struct walker *walkers = calloc(WALKERS, sizeof *walkers);
  const struct batch *out[2];
  int n_out = 0;
  uint32_t seed = 7;
  for (int step = 0; step < WALK_STEPS; step++) {
    walker_poke(s, &walkers[draw(&seed, WALKERS)], &seed);
    const struct batch *batch = schedule_next(s, (uint64_t)step);
    if (batch) {
      assert_true(batch->n_token >= 1 && batch->n_token <= limits.tokens);
      blocks_check(batch, limits.n_block[0]);
      out[n_out++] = batch;
    }
    if (n_out && (n_out == run_ahead + 1 || draw(&seed, 2))) {
      struct schedule_events events = step_finish(s, out[0]);
      events_apply(s, &events);
      out[0] = out[1];
      n_out--;
    }
  }
  while (n_out--) {
    struct schedule_events events = step_finish(s, out[0]);
    events_apply(s, &events);
    out[0] = out[1];
  }
  for (int i = 0; i < WALKERS; i++)
    if (walkers[i].in) assert_true(schedule_remove(s, &walkers[i].sequence));
  struct schedule_stats stats;
  schedule_stats(s, &stats);
  assert_true(stats.kv_used == 0 && stats.waiting == 0 && stats.running == 0);
  assert_true(stats.generated_tokens > WALK_STEPS / 100);
  schedule_free(s);
  free(walkers);
}

static void test_walk(void **state) {
  (void)state;
  walk(0);
  walk(1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chunks),           cmocka_unit_test(test_order), cmocka_unit_test(test_pause),
      cmocka_unit_test(test_remove_in_flight), cmocka_unit_test(test_fits),  cmocka_unit_test(test_walk),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
