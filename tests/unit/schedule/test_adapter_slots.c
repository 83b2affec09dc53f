/* Adapters in a schedule: how many at once, whose turn it is, whose prefixes are whose. Placing one takes a step. */
#include "schedule_fixture.h"

enum { CROWD = 512, PROMPT = 3 };

struct world {
  struct schedule *schedule;
  struct limits limits;
  struct sequence q[CROWD];
  int32_t tokens[CROWD][TOKENS_MAX];
  uint64_t slot[16]; /* what the device has there */
  int n_step, n_row, most_adapters, finished_at[CROWD];
};

static struct world world;

static struct world *world_make(int seats, int slots) {
  struct world *w = &world;
  *w = (struct world){.limits = limits_make(seats, 512, 64, 4096)};
  w->limits.adapters = slots;
  w->schedule = schedule_make(&w->limits, 1, 0);
  return w;
}

static struct sequence *request(struct world *w, int i, uint64_t adapter, int max_tokens) {
  w->q[i] = sequence_make(w->tokens[i], PROMPT, max_tokens);
  w->tokens[i][0] = 50 + i;
  if (adapter) {
    w->q[i].n_adapter = 1;
    w->q[i].adapter[0] = (struct sequence_adapter){adapter, 1};
  }
  return &w->q[i];
}

static void add(struct world *w, int i, uint64_t adapter, int max_tokens) {
  schedule_add(w->schedule, request(w, i, adapter, max_tokens), 0);
}

static void batch_check_adapters(struct world *w, const struct batch *batch) {
  uint64_t seen[16];
  int n_seen = 0;
  for (int r = 0; r < batch->n_row; r++)
    for (int i = 0, k = 0; i < batch->row[r].n_lora; i++) {
      int slot = batch->row[r].lora[i].slot;
      assert_in_range(slot, 0, w->limits.adapters - 1);
      while (k < n_seen && seen[k] != w->slot[slot]) k++;
      if (k == n_seen) seen[n_seen++] = w->slot[slot];
      assert_true(w->slot[slot] != 0);
    }
  assert_in_range(n_seen, 0, w->limits.adapters);
  if (n_seen > w->most_adapters) w->most_adapters = n_seen;
}

static void step(struct world *w) {
  struct slot_want want;
  const struct batch *batch = schedule_next(w->schedule, 0);
  w->n_step++;
  if (batch) {
    batch_check_adapters(w, batch);
    w->n_row += batch->n_row;
    struct schedule_events events = step_finish(w->schedule, batch);
    for (int i = 0; i < events.n_event; i++) {
      struct sequence *q = events.event[i].sequence;
      if (q->n_token < q->n_prompt + q->max_tokens) continue;
      assert_true(schedule_remove(w->schedule, q));
      w->finished_at[q - w->q] = w->n_step;
    }
  }
  while (schedule_slot_wanted(w->schedule, &want)) {
    w->slot[want.slot] = want.id;
    schedule_slot_filled(w->schedule, want.slot, true);
  }
}

static bool busy(const struct world *w) {
  struct schedule_stats stats = stats_of(w->schedule);
  return stats.waiting + stats.running > 0;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_rows(void **state) {
  (void)state;
  struct world *w = world_make(4, 2);
  add(w, 0, 7, 4);
  request(w, 1, 7, 4)->adapter[0].scale = -2;
  w->q[1].n_adapter = 2;
  w->q[1].adapter[1] = (struct sequence_adapter){8, 0.5f};
  schedule_add(w->schedule, &w->q[1], 0);
  add(w, 2, 0, 4);
  step(w); /* the one without runs, the others' adapters come */
  assert_int_equal(w->n_row, 1);
  const struct batch *batch = schedule_next(w->schedule, 0);
  assert_int_equal(batch->n_row, 3);
  assert_int_equal(batch->row[0].n_lora, 0);
  assert_int_equal(batch->row[1].n_lora, 1);
  assert_int_equal(w->slot[batch->row[1].lora[0].slot], 7);
  assert_true(batch->row[1].lora[0].scale == 1);
  assert_int_equal(batch->row[2].n_lora, 2);
  assert_int_equal(w->slot[batch->row[2].lora[1].slot], 8);
  assert_true(batch->row[2].lora[0].scale == -2 && batch->row[2].lora[1].scale == 0.5f);
  step_finish(w->schedule, batch);
  schedule_free(w->schedule);
}

/* Who does not read keeps a slot from others for some steps, not for ever, and goes on when it reads. */
static void test_paused(void **state) {
  (void)state;
  for (int alone = 0; alone < 2; alone++) {
    struct world *w = world_make(4, 1);
    add(w, 0, 7, 20);
    while (w->q[0].n_token < PROMPT + 2) step(w);
    schedule_pause(w->schedule, &w->q[0], true);
    add(w, 1, 8, 4);
    for (int i = 2; i < 12 && !alone; i++) add(w, i, 0, 50);
    for (int i = 0; i < 200; i++) step(w);
    assert_true(w->finished_at[1] > 0 && w->finished_at[1] < 150 && w->finished_at[0] == 0);
    schedule_pause(w->schedule, &w->q[0], false);
    while (busy(w) && w->n_step < 1000) step(w);
    assert_true(w->finished_at[0] > 0);
    schedule_free(w->schedule);
  }
}

static void test_no_more_than_slots(void **state) {
  (void)state;
  struct world *w = world_make(8, 3);
  for (int i = 0; i < 64; i++) add(w, i, 1 + (uint64_t)(i % 7), 5);
  while (busy(w) && w->n_step < 1000) step(w);
  assert_false(busy(w));
  assert_int_equal(w->most_adapters, 3);
  schedule_free(w->schedule);
}

/* Requests for one adapter come without end, as fast as they leave. Who wants another one waits for a batch of them. */
static void test_no_starvation(void **state) {
  (void)state;
  struct world *w = world_make(4, 1);
  int next = 0;
  while (next < 8) add(w, next++, 1, 4);
  for (int i = 0; i < 20; i++) step(w);
  int other = next++;
  add(w, other, 2, 4);
  int began = w->n_step;
  while (w->finished_at[other] == 0 && w->n_step < began + 200) {
    if (next < CROWD) add(w, next++, 1, 4);
    step(w);
  }
  assert_in_range(w->finished_at[other], began + 4, began + 24); /* two batches, placing, itself */
  schedule_free(w->schedule);
}

/* Adapters take turns: each gets about as many answers in the same time, however many wait for it. */
static void test_turns(void **state) {
  (void)state;
  struct world *w = world_make(4, 1);
  int next = 0, count[4] = {0};
  for (; next < 360; next++) add(w, next, next < 300 ? 1 : 2 + (uint64_t)(next % 2), 4);
  while (w->n_step < 75) step(w); /* nobody is done yet */
  for (int i = 0; i < next; i++)
    if (w->finished_at[i]) count[w->q[i].adapter[0].id]++;
  for (int i = 1; i <= 3; i++) assert_in_range(count[i], 12, 24);
  schedule_free(w->schedule);
}

/* Adapters that are not known yet, or wait for a slot, hold nobody up, however many stand before. */
static void test_others_go_on(void **state) {
  (void)state;
  struct world *w = world_make(4, 1);
  add(w, 0, 1, 60);
  step(w);
  for (int i = 1; i < 200; i++) add(w, i, 2, 4);
  for (int i = 200; i < 300; i++) {
    request(w, i, 3, 4)->unready = true;
    schedule_add(w->schedule, &w->q[i], 0);
  }
  add(w, 300, 0, 4);
  for (int i = 0; i < 6; i++) step(w);
  assert_in_range(w->finished_at[300], 2, 6);
  while (w->finished_at[0] == 0 && w->n_step < 100) step(w);
  for (int i = 200; i < 300; i++) schedule_ready(w->schedule, &w->q[i]);
  while (busy(w) && w->n_step < 2000) step(w);
  assert_false(busy(w));
  schedule_free(w->schedule);
}

/* One tenant asks for a new adapter with each request; the other, who comes last, is served next. */
static void test_tenants(void **state) {
  (void)state;
  struct world *w = world_make(2, 1);
  for (int i = 0; i < 100; i++) add(w, i, 10 + (uint64_t)i, 2);
  step(w);
  request(w, 100, 5, 2)->tenant = 1;
  schedule_add(w->schedule, &w->q[100], 0);
  while (w->finished_at[100] == 0 && w->n_step < 50) step(w);
  assert_in_range(w->finished_at[100], 1, 14);
  schedule_free(w->schedule);
}

/* Several adapters at once come together, whoever else wants slots. */
static void test_several(void **state) {
  (void)state;
  struct world *w = world_make(4, 4);
  int next = 0;
  for (; next < 100; next++) add(w, next, 1 + (uint64_t)(next % 9), 3);
  struct sequence *q = request(w, next, 1, 3);
  q->n_adapter = 4;
  for (int i = 0; i < 4; i++) q->adapter[i] = (struct sequence_adapter){20 + (uint64_t)i, 1};
  schedule_add(w->schedule, q, 0);
  for (int i = next + 1; i < 400; i++) add(w, i, 1 + (uint64_t)(i % 9), 3);
  while (w->finished_at[next] == 0 && w->n_step < 1000) step(w);
  int later = 0;
  for (int i = next + 1; i < 400; i++) later += w->finished_at[i] > 0;
  assert_true(w->finished_at[next] > 0 && later < 100);
  schedule_free(w->schedule);
}

/* A removed sequence's claim is nobody's; an adapter that cannot be placed leaves its slot to others. */
static void test_given_up(void **state) {
  (void)state;
  struct world *w = world_make(2, 1);
  struct slot_want want;
  add(w, 0, 1, 4);
  assert_null(schedule_next(w->schedule, 0));
  assert_true(schedule_remove(w->schedule, &w->q[0])); /* before its owner heard of it */
  assert_false(schedule_slot_wanted(w->schedule, &want));
  add(w, 1, 2, 4);
  add(w, 2, 3, 4);
  assert_null(schedule_next(w->schedule, 0));
  assert_true(schedule_slot_wanted(w->schedule, &want));
  assert_int_equal(want.id, 2);
  assert_ptr_equal(want.sequence, &w->q[1]);
  assert_true(schedule_remove(w->schedule, &w->q[1])); /* while it is on its way */
  assert_null(schedule_next(w->schedule, 0));
  assert_false(schedule_slot_wanted(w->schedule, &want));
  schedule_slot_filled(w->schedule, 0, false);
  step(w);
  step(w);
  assert_int_equal(w->slot[0], 3);
  while (busy(w) && w->n_step < 20) step(w);
  assert_false(busy(w));
  schedule_free(w->schedule);
}

/* Requests of the best priority without adapters come without end, and one of a bad priority that has claimed the slot
 * never runs. Another of the best priority that needs the slot does; `several`: of two slots both. */
static void test_priorities(void **state) {
  (void)state;
  for (int several = 0; several < 2; several++) {
    struct world *w = world_make(2, 1 + several);
    int next = 0;
    for (int k = 0; k <= several; k++) {
      request(w, next, 1 + (uint64_t)k, 4)->priority = 1;
      schedule_add(w->schedule, &w->q[next++], 0);
    }
    for (int i = 0; i < 2; i++) add(w, next++, 0, 3);
    for (int i = 0; i < 4; i++, add(w, next++, 0, 3)) step(w);
    assert_int_equal(w->slot[several], 1 + several);
    int better = next++;
    request(w, better, 8, 4)->n_adapter = 1 + several;
    w->q[better].adapter[1] = (struct sequence_adapter){9, 1};
    schedule_add(w->schedule, &w->q[better], 0);
    for (int began = w->n_step; w->finished_at[better] == 0 && w->n_step < began + 40; add(w, next++, 0, 3)) step(w);
    assert_true(w->finished_at[better] > 0 && w->finished_at[0] == 0);
    while (busy(w) && w->n_step < 500) step(w);
    assert_true(w->finished_at[0] > 0 && w->finished_at[several] > 0);
    schedule_free(w->schedule);
  }
}

/* The heir of a slot that others use is whoever matters most. */
static void test_priorities_of_heirs(void **state) {
  (void)state;
  struct world *w = world_make(4, 1);
  add(w, 0, 1, 12);
  while (w->q[0].n_token == PROMPT) step(w);
  request(w, 1, 2, 4)->priority = 1;
  schedule_add(w->schedule, &w->q[1], 0);
  step(w);
  add(w, 2, 3, 4);
  while (busy(w) && w->n_step < 100) step(w);
  assert_true(w->finished_at[0] < w->finished_at[2] && w->finished_at[2] < w->finished_at[1]);
  schedule_free(w->schedule);
}

/* Whoever waits for an adapter, to be read or for its slot, gives the prompts of others no larger part of a step. */
static void test_pace(void **state) {
  (void)state;
  struct world *w = world_make(8, 1);
  w->limits.tokens = 32;
  schedule_free(w->schedule);
  w->schedule = schedule_make(&w->limits, 1, 0);
  add(w, 0, 1, 30);
  while (w->q[0].n_token == PROMPT) step(w);
  request(w, 1, 2, 4)->unready = true;
  schedule_add(w->schedule, &w->q[1], 0);
  for (int i = 2; i < 5; i++) add(w, i, 3, 4);
  w->q[5] = sequence_make(w->tokens[5], 40, 4);
  schedule_add(w->schedule, &w->q[5], 0);
  assert_string_equal(trace_of(schedule_next(w->schedule, 0)), "3+1! 0+8"); /* of nothing measured a quarter */
  schedule_free(w->schedule);
}

/* Blocks are found again under the same adapter and scale alone. */
static void test_prefixes(void **state) {
  (void)state;
  static const struct {
    uint64_t id;
    float scale;
    int cached;
  } cases[] = {{0, 0, 0}, {0, 0, 16}, {1, 1, 0},     {1, 1, 16}, {1, 0.5f, 0},
               {2, 1, 0}, {2, 1, 16}, {1, 0.5f, 16}, {0, 0, 16}};
  struct world *w = world_make(2, 2);
  for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
    w->q[i] = sequence_make(w->tokens[i], 20, 2);
    w->q[i].n_adapter = cases[i].id != 0;
    w->q[i].adapter[0] = (struct sequence_adapter){cases[i].id, cases[i].scale};
    schedule_add(w->schedule, &w->q[i], 0);
    for (int k = 0; k < 10 && busy(w); k++) step(w);
    assert_false(busy(w));
    assert_int_equal(w->q[i].n_cached, cases[i].cached);
  }
  schedule_free(w->schedule);
}

/* Steps that a crowd takes when its requests are for n adapters, of which the k-th is asked for 1/k times as often as
 * the first, beside those it takes for as many as there are slots. */
static int zipf_steps(int n) {
  struct world *w = world_make(32, 16);
  uint32_t seed = 5;
  double total = 0;
  for (int k = 1; k <= n; k++) total += 1.0 / k;
  for (int i = 0; i < CROWD; i++) {
    seed = seed * 1664525u + 1013904223u;
    double left = (double)(seed >> 8) / (1 << 24) * total;
    uint64_t id = 1;
    for (; id < (uint64_t)n && (left -= 1.0 / (double)id) > 0; id++)
      ;
    add(w, i, id, 40);
  }
  while (busy(w) && w->n_step < 100000) step(w);
  assert_false(busy(w));
  int steps = w->n_step;
  schedule_free(w->schedule);
  return steps;
}

static void test_many_adapters(void **state) {
  (void)state;
  int few = zipf_steps(16), many = zipf_steps(1000);
  print_message("steps of 512 requests, 32 at once, 16 slots: %d for 16 adapters, %d for 1000\n", few, many);
  assert_true(few >= 0.8 * many);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rows),
      cmocka_unit_test(test_paused),
      cmocka_unit_test(test_no_more_than_slots),
      cmocka_unit_test(test_no_starvation),
      cmocka_unit_test(test_turns),
      cmocka_unit_test(test_others_go_on),
      cmocka_unit_test(test_tenants),
      cmocka_unit_test(test_several),
      cmocka_unit_test(test_given_up),
      cmocka_unit_test(test_priorities),
      cmocka_unit_test(test_priorities_of_heirs),
      cmocka_unit_test(test_pace),
      cmocka_unit_test(test_prefixes),
      cmocka_unit_test(test_many_adapters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
