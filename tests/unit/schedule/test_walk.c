/* Random walks: sequences come, pause, leave; results come late; blocks are short. After every step: each block is
 * free, idle or held by just those that name it; no step is over a limit; what is written belongs to one sequence
 * alone. The device is simulated: a block remembers, for each of its tokens, a hash of all tokens up to it, and the
 * next token is a function of that hash. So a block that was shared, forgotten, moved or recomputed wrongly gives a
 * wrong answer, and every sequence must end with the answer that it would get alone. */
#include "schedule_fixture.h"

#include "schedule/schedule_state.h"

enum { WALKERS = 12, SEATS = 4, STEP_TOKENS = 8, LENGTH = 40, BLOCKS_MAX = 64, DRAIN_STEPS = 4000 };

struct walker {
  struct sequence sequence;
  int32_t tokens[LENGTH];
  bool in;
};

struct world {
  struct schedule *schedule;
  struct limits limits;
  struct walker walkers[WALKERS];
  uint32_t seed;
  uint64_t now_us;
  int n_finished;
  /* the device */
  uint64_t context[BLOCKS_MAX][BLOCK];
  int32_t last[SEATS];
  struct flight {
    const struct batch *batch;
    int32_t token[SEATS];
  } flight[2];
  int n_flight;
};

static uint32_t draw(struct world *w, uint32_t below) {
  w->seed = w->seed * 1664525u + 1013904223u;
  return (w->seed >> 8) % below;
}

/* --- the device --------------------------------------------------------------------------------------------------- */

static uint64_t context_extend(uint64_t context, int32_t token) {
  context = (context ^ (uint64_t)(token + 1)) * 0x9E3779B97F4A7C15u;
  return context ^ context >> 29;
}

static int32_t context_token(uint64_t context) { return (int32_t)(context >> 40) % 3; }

static uint64_t *context_at(struct world *w, const struct row *row, int position) {
  return &w->context[row->block[0][position / BLOCK]][position % BLOCK];
}

/* Computes a row, and returns its next token. */
static int32_t row_compute(struct world *w, const struct batch *batch, const struct row *row) {
  uint64_t context = row->length > 0 ? *context_at(w, row, row->length - 1) : 0;
  for (int i = 0; i < row->count; i++) {
    int32_t token = batch->token[row->first + i];
    context = context_extend(context, token == -1 ? w->last[row->seat] : token);
    *context_at(w, row, row->length + i) = context;
  }
  return context_token(context);
}

static void batch_compute(struct world *w, const struct batch *batch) {
  struct flight *flight = &w->flight[w->n_flight++];
  flight->batch = batch;
  for (int r = 0, out = 0; r < batch->n_row; r++) {
    const struct row *row = &batch->row[r];
    int32_t token = row_compute(w, batch, row);
    if (out == batch->n_out || batch->out[out] != row->first + row->count - 1) continue;
    flight->token[out++] = w->last[row->seat] = token;
  }
}

/* --- what must always hold ---------------------------------------------------------------------------------------- */

static void blocks_check(const struct schedule *s) {
  const struct kv_blocks *b = &s->blocks;
  uint32_t holders[BLOCKS_MAX] = {0}, held = 0;
  for (int i = 0; i < s->n_running; i++)
    for (uint32_t k = 0; k < s->running[i]->n_block; k++) holders[sequence_table(s, s->running[i])[k]]++;
  for (uint32_t i = 0; i < b->n_total; i++) {
    assert_int_equal(b->holders[i], holders[i]);
    held += holders[i] > 0;
    if (b->findable[i]) assert_int_equal(kv_blocks_find(b, b->index.hash[i]), i); /* and no other */
  }
  assert_int_equal(held + b->n_free + b->n_idle, b->n_total);
  for (uint32_t i = 0; i < b->n_free; i++) assert_true(!b->findable[b->free[i]] && holders[b->free[i]] == 0);
  uint32_t idle = 0;
  for (uint32_t i = b->newer[b->n_total]; i != b->n_total; i = b->newer[i], idle++)
    assert_true(b->findable[i] && holders[i] == 0);
  assert_int_equal(idle, b->n_idle);
}

static void batch_check_limits(const struct world *w, const struct batch *batch) {
  assert_in_range(batch->n_token, 1, w->limits.tokens);
  assert_in_range(batch->n_row, 1, w->limits.seats);
  assert_in_range(batch->n_out, 0, w->limits.outputs);
  for (int r = 0; r < batch->n_row; r++) {
    const struct row *row = &batch->row[r];
    int end = row->length + row->count;
    assert_in_range(end, 1, w->limits.length);
    assert_in_range(row->n_block[0], (end + BLOCK - 1) / BLOCK, w->schedule->table_size);
    for (int k = row->length / BLOCK; k * BLOCK < end; k++)
      assert_int_equal(w->schedule->blocks.holders[row->block[0][k]], 1); /* what is written is nobody else's */
  }
}

/* --- the walkers -------------------------------------------------------------------------------------------------- */

/* Few kinds of prompt, so that prefixes meet; two salts, so that equal ones may not. */
static void walker_start(struct world *w, struct walker *walker) {
  struct sequence *q = &walker->sequence;
  int kind = (int)draw(w, 3), n_prompt = 1 + (int)draw(w, 30), shared = (int)draw(w, 30);
  *q = (struct sequence){.tokens = walker->tokens, .n_prompt = n_prompt, .max_tokens = 1 + (int)draw(w, 8)};
  for (int i = 0; i < n_prompt; i++) walker->tokens[i] = i < shared ? kind : (int)draw(w, 3);
  q->priority = (int32_t)draw(w, 3);
  q->tenant = (int32_t)draw(w, 2);
  q->salt.low = (uint64_t)q->tenant;
  q->owner = walker;
  walker->in = true;
  schedule_add(w->schedule, q, w->now_us);
}

static void walker_poke(struct world *w, struct walker *walker) {
  struct sequence *q = &walker->sequence;
  if (!walker->in) {
    walker_start(w, walker);
  } else if (draw(w, 8) == 0) {
    if (schedule_remove(w->schedule, q)) walker->in = false;
  } else if (!q->leaving) {
    schedule_pause(w->schedule, q, draw(w, 4) == 0);
  }
}

static void answer_check(const struct sequence *q) {
  uint64_t context = 0;
  for (int i = 0; i < q->n_token; i++) {
    if (i >= q->n_prompt) assert_int_equal(q->tokens[i], context_token(context));
    context = context_extend(context, q->tokens[i]);
  }
}

static void oldest_finish(struct world *w) {
  static const float logprob[SEATS];
  struct schedule_events events;
  struct result result = {.n_out = w->flight[0].batch->n_out, .token = w->flight[0].token, .logprob = logprob};
  schedule_done(w->schedule, &result, w->now_us, &events);
  for (int i = 0; i < events.n_event; i++) {
    struct sequence *q = events.event[i].sequence;
    struct walker *walker = q->owner;
    bool full = q->n_token == q->n_prompt + q->max_tokens;
    if (full && events.event[i].token >= 0) {
      answer_check(q);
      w->n_finished++;
    }
    if (events.event[i].token < 0 || (full && schedule_remove(w->schedule, q))) walker->in = false;
  }
  w->flight[0] = w->flight[1];
  w->n_flight--;
}

static void world_step(struct world *w) {
  const struct batch *batch = schedule_next(w->schedule, w->now_us += 500);
  if (batch) {
    batch_check_limits(w, batch);
    batch_compute(w, batch);
  }
  blocks_check(w->schedule);
  if (w->n_flight == w->schedule->n_step || (w->n_flight > 0 && (!batch || draw(w, 2)))) {
    w->now_us += 300;
    oldest_finish(w);
    blocks_check(w->schedule);
  }
}

/* Nobody new comes, everybody reads: all must end. */
static void drain(struct world *w) {
  for (int i = 0; i < WALKERS; i++)
    if (w->walkers[i].in) schedule_pause(w->schedule, &w->walkers[i].sequence, false);
  for (int step = 0; step < DRAIN_STEPS; step++) world_step(w);
  for (int i = 0; i < WALKERS; i++) assert_false(w->walkers[i].in);
  struct schedule_stats stats = stats_of(w->schedule);
  assert_true(stats.kv_used == 0 && stats.waiting == 0 && stats.running == 0 && w->n_flight == 0);
}

static void walk(struct schedule_options options, uint32_t n_block, int n_step) {
  static struct world world;
  struct world *w = &world;
  *w = (struct world){.limits = limits_make(SEATS, STEP_TOKENS, LENGTH, n_block), .seed = 7};
  options.limits = &w->limits;
  options.n_group = 1;
  options.batch_delay_us = 3000;
  options.key = (struct hash_key){1, 2};
  w->schedule = schedule_new(&options);
  for (int step = 0; step < n_step; step++) {
    walker_poke(w, &w->walkers[draw(w, WALKERS)]);
    world_step(w);
    if (step % 5000 == 4999) drain(w);
  }
  drain(w);
  struct schedule_stats stats = stats_of(w->schedule);
  assert_true(w->n_finished > n_step / 200);
  assert_true(options.no_reuse ? stats.cached_tokens == 0 : stats.cached_tokens > 0);
  assert_true(stats.recomputed_tokens == 0 || stats.preemptions > 0);
  if (n_block <= 12 && options.policy == SCHEDULE_CONTINUOUS) assert_true(stats.preemptions > 0);
  schedule_free(w->schedule);
}

static void test_walk(void **state) {
  (void)state;
  static const uint32_t n_block[] = {11, 24, BLOCKS_MAX};
  static const enum schedule_policy policy[] = {SCHEDULE_CONTINUOUS, SCHEDULE_DYNAMIC, SCHEDULE_STATIC};
  int n_step = (getenv("SPATE_LONG") ? 10000000 : 1000000) / 36;
  for (int i = 0; i < 36; i++) {
    struct schedule_options options = {.run_ahead = i % 2, .no_reuse = i / 2 % 2 == 1, .policy = policy[i / 4 % 3]};
    walk(options, n_block[i / 12], n_step);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_walk)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
