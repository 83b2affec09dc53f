/* Random walks: sequences come, pause, leave; results come late; blocks are short. After every step: each block is
 * free, idle or held by just those that name it; no step is over a limit; what is written belongs to one sequence
 * alone. The device is simulated: a block remembers, for each of its tokens, a hash of all tokens up to it, of where
 * they are and, within images whose tokens see each other, of those behind it, and the next token is a function of that
 * hash. So a block that was shared, copied, forgotten, moved or recomputed wrongly
 * gives a wrong answer, and every sequence must end with the answer that it would get alone; a prompt's scores are
 * such answers too. Adapters are part of that hash, so that one in a wrong slot, or a prefix of another one's, gives a
 * wrong answer as well. Walkers are requests of one sequence, of several answers, or beam searches that fork at random.
 */
#include "schedule_fixture.h"

#include "schedule/schedule_state.h"

enum { WALKERS = 12, SEATS = 4, STEP_TOKENS = 8, LENGTH = 40, BLOCKS_MAX = 64, DRAIN_STEPS = 4000, TOGETHER = 3 };
enum { IMAGES = 2, CONTENTS = 3, MARK = 5, IMAGE_MOST = STEP_TOKENS - SEATS + 1 };
enum { SLOTS = 2, ADAPTERS = 5, SLOT_FAILS = 40 };

struct walker {
  struct sequence sequence[TOGETHER];
  int32_t tokens[TOGETHER][LENGTH], embed[LENGTH];
  struct sequence_span span[IMAGES];
  struct image_span image[IMAGES];
  struct sequence_group group;
  bool in[TOGETHER];
  bool search;
  int n_beam, n_heard; /* a search's beams that go on, and those of them that have told their next token */
  int n_scored;
};

struct world {
  struct schedule *schedule;
  struct limits limits;
  bool mutual, axes;
  struct walker walkers[WALKERS];
  uint32_t seed;
  uint64_t now_us;
  int n_finished, n_searched, n_scored, n_copied, n_adapted, n_placed, n_refused, n_spoilt, n_seen;
  /* the device */
  uint64_t context[BLOCKS_MAX][BLOCK];
  int32_t last[SEATS];
  uint64_t slot[SLOTS];   /* the adapter in it; 0 while another is on its way */
  uint64_t coming[SLOTS]; /* that; 0: none */
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

static uint64_t adapter_extend(uint64_t context, uint64_t id, float scale) {
  return context_extend(context, (int32_t)(100 * id) + (int32_t)(10 * scale));
}

static uint64_t *context_at(struct world *w, const struct row *row, int position) {
  return &w->context[row->block[0][position / BLOCK]][position % BLOCK];
}

/* What it has computed of a row is nonsense, and one of its outputs says so: nobody may find any of it. */
static void row_spoil(struct world *w, const struct row *row, int32_t *answer) {
  for (int i = 0; i < row->count; i++) *context_at(w, row, row->length + i) ^= 0x5555;
  *answer = -1;
  w->n_spoilt++;
}

/* What a token is: itself, or the row in its place. */
static int32_t identity_at(const struct world *w, const struct batch *batch, int at, int seat) {
  if (batch->embed && batch->embed[at] >= 0) return batch->embed[at];
  return batch->token[at] == -1 ? w->last[seat] : batch->token[at];
}

/* With the places that the batch says, and all that is seen behind the token. */
static uint64_t token_compute(const struct world *w, const struct batch *batch, const struct row *row, int i,
                              uint64_t context) {
  int at = row->first + i, last = batch->see ? batch->see[at] : i;
  context = context_extend(context, identity_at(w, batch, at, row->seat));
  for (int axis = 0; w->axes && axis < 3; axis++)
    context = context_extend(context, row->length + (batch->position ? batch->position[at][axis] : i));
  assert_in_range(last, i, row->count - 1);
  for (int k = i + 1; k <= last; k++)
    context = context_extend(context, identity_at(w, batch, row->first + k, row->seat));
  return context;
}

/* Computes a row, and the tokens that follow those of its own that are outputs, from *out on. A score is told as the
 * likeliest answer. */
static void row_compute(struct world *w, const struct batch *batch, const struct row *row, int32_t *answer, int *out) {
  uint64_t adapted = 0;
  int before = *out;
  for (int i = 0; i < row->n_lora; i++) {
    assert_true(w->slot[row->lora[i].slot] != 0);
    adapted = adapter_extend(adapted, w->slot[row->lora[i].slot], row->lora[i].scale);
  }
  uint64_t context = row->length > 0 ? *context_at(w, row, row->length - 1) : adapted;
  for (int i = 0; i < row->count; i++) {
    context = token_compute(w, batch, row, i, context);
    *context_at(w, row, row->length + i) = context;
    if (*out == batch->n_out || batch->out[*out] != row->first + i) continue;
    answer[(*out)++] = w->last[row->seat] = context_token(context);
  }
  if (*out > before && draw(w, 500) == 0) row_spoil(w, row, &answer[*out - 1]);
}

static void batch_compute(struct world *w, const struct batch *batch) {
  struct flight *flight = &w->flight[w->n_flight++];
  flight->batch = batch;
  for (int i = 0; i < batch->n_copy; i++)
    memcpy(w->context[batch->copy[i].to], w->context[batch->copy[i].from], sizeof w->context[0]);
  w->n_copied += batch->n_copy;
  for (int r = 0, out = 0; r < batch->n_row; r++) row_compute(w, batch, &batch->row[r], flight->token, &out);
}

/* --- what must always hold ---------------------------------------------------------------------------------------- */

/* The first beam may be out while another is still part of a step. */
static bool pool_counted(const struct schedule *s, int at) {
  for (int i = 0; i < at; i++)
    if (s->running[i]->group == s->running[at]->group) return true;
  return false;
}

static void pools_count(const struct schedule *s, uint32_t holders[BLOCKS_MAX]) {
  for (int i = 0; i < s->n_running; i++) {
    const struct sequence *q = s->running[i];
    if (!sequence_beams(q) || pool_counted(s, i)) continue;
    uint32_t block = q->group->pool;
    for (uint32_t k = 0; k < q->group->n_pool; k++, block = s->blocks.older[block]) holders[block]++;
  }
}

static void blocks_check(const struct schedule *s) {
  const struct kv_blocks *b = &s->blocks;
  uint32_t holders[BLOCKS_MAX] = {0}, held = 0;
  pools_count(s, holders);
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

/* Slots count those that run and those that they are kept for, and hold each adapter once. */
static void slots_check(const struct schedule *s) {
  for (int i = 0; i < s->slots.n; i++) {
    const struct adapter_slot *slot = &s->slots.slot[i];
    int n_running = 0, n_kept = 0;
    for (int k = 0; k < s->n_running; k++)
      for (int j = 0; j < s->running[k]->n_adapter; j++) {
        n_running += s->running[k]->slot[j] == i;
        if (s->running[k]->slot[j] == i) assert_true(s->running[k]->adapter[j].id == slot->id && !slot->coming);
      }
    for (int t = 0; t < SCHEDULE_TENANTS; t++)
      for (const struct sequence *q = s->waiting.tenant[t].first; q; q = q->next)
        for (int j = 0; j < q->n_adapter; j++) n_kept += q->claims && slot->id && q->adapter[j].id == slot->id;
    assert_int_equal(slot->n_running, n_running);
    assert_int_equal(slot->n_kept, n_kept);
    for (int k = 0; k < i; k++) assert_true(!slot->id || slot->id != s->slots.slot[k].id);
    if (slot->heir) assert_true(slot->heir->claims && slot->heir->state == SEQUENCE_WAITING && slot->n_kept == 0);
  }
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
static void prompt_make(struct world *w, struct walker *walker, int n_prompt) {
  int kind = (int)draw(w, 3), shared = (int)draw(w, 30);
  for (int i = 0; i < n_prompt; i++) walker->tokens[0][i] = i < shared ? kind : (int)draw(w, 3);
  for (int k = 1; k < TOGETHER; k++) memcpy(walker->tokens[k], walker->tokens[0], (size_t)n_prompt * sizeof(int32_t));
}

/* An image of any content behind token `at`; where the next may be. */
static int image_make(struct world *w, struct walker *walker, struct sequence *q, int at) {
  int lines = 1 + (int)draw(w, 3), columns = 1 + (int)draw(w, 4), content = 1 + (int)draw(w, CONTENTS);
  int first = at + (int)draw(w, 6), end = first + lines * columns;
  if (end >= q->n_prompt || (w->mutual && lines * columns > IMAGE_MOST)) return at;
  walker->image[q->n_image++] = (struct image_span){first, lines, columns};
  walker->span[q->n_span++] =
      (struct sequence_span){first, lines * columns, {(uint64_t)content, (uint64_t)(10 * lines + columns)}};
  for (int i = first; i < end; i++) {
    walker->embed[i] = 1000 * content + 100 * lines + 10 * columns + i - first;
    for (int k = 0; k < TOGETHER; k++) walker->tokens[k][i] = MARK;
  }
  return end;
}

/* Their tokens are all the same: what tells them apart are their contents. */
static void images_make(struct world *w, struct walker *walker, struct sequence *q) {
  for (int i = 0; i < LENGTH; i++) walker->embed[i] = -1;
  if ((!w->mutual && !w->axes) || draw(w, 3) == 0) return;
  for (int i = 0, at = 0; i < IMAGES; i++) at = image_make(w, walker, q, at);
  q->span = walker->span;
  q->image = walker->image;
  q->embed = walker->embed;
}

/* Half of them have none. Some are known later. */
static void adapters_make(struct world *w, struct sequence *q) {
  q->n_adapter = w->limits.adapters && draw(w, 2) ? 1 + (draw(w, 4) == 0) : 0;
  for (int i = 0; i < q->n_adapter; i++)
    q->adapter[i] = (struct sequence_adapter){1 + draw(w, ADAPTERS), draw(w, 2) ? 1.0f : 0.5f};
  if (q->n_adapter == 2 && q->adapter[1].id == q->adapter[0].id) q->n_adapter = 1;
  q->unready = q->n_adapter > 0 && draw(w, 3) == 0;
}

static void walker_start(struct world *w, struct walker *walker) {
  int n = draw(w, 3) ? 1 : 2 + (int)draw(w, TOGETHER - 1), n_prompt = 1 + (int)draw(w, 30);
  struct sequence plain = {.n_prompt = n_prompt, .max_tokens = 1 + (int)draw(w, 8), .owner = walker};
  prompt_make(w, walker, n_prompt);
  plain.priority = (int32_t)draw(w, 3);
  plain.tenant = (int32_t)draw(w, 2);
  plain.salt.low = (uint64_t)plain.tenant;
  adapters_make(w, &plain);
  images_make(w, walker, &plain);
  walker->search = n > 1 && draw(w, 2);
  if (walker->search && !schedule_fits(w->schedule, n_prompt, plain.max_tokens, n, NULL)) return;
  walker->n_beam = walker->n_heard = walker->n_scored = 0;
  walker->group = (struct sequence_group){.first = &walker->sequence[0], .n = n, .beams = walker->search};
  for (int i = 0; i < n; i++) {
    walker->sequence[i] = plain;
    walker->sequence[i].tokens = walker->tokens[i];
    walker->sequence[i].group = n > 1 ? &walker->group : NULL;
    walker->sequence[i].sibling = i + 1 < n ? &walker->sequence[i + 1] : NULL;
    walker->in[i] = true;
  }
  walker->sequence[0].scores_prompt = draw(w, 6) == 0 && (!w->mutual || plain.n_image == 0);
  schedule_add(w->schedule, &walker->sequence[0], w->now_us);
}

static bool walker_in(const struct walker *walker) {
  bool in = false;
  for (int i = 0; i < TOGETHER; i++) in |= walker->in[i];
  return in;
}

static void walker_remove(struct world *w, struct walker *walker) {
  for (int i = 0; i < TOGETHER; i++)
    if (walker->in[i] && schedule_remove(w->schedule, &walker->sequence[i])) walker->in[i] = false;
}

static void walker_pause(struct world *w, struct walker *walker, bool paused) {
  for (int i = 0; i < TOGETHER; i++)
    if (walker->in[i] && !walker->sequence[i].leaving) schedule_pause(w->schedule, &walker->sequence[i], paused);
}

static void walker_ready(struct world *w, struct walker *walker) {
  if (walker->in[0] && walker->sequence[0].unready) schedule_ready(w->schedule, &walker->sequence[0]);
}

static void walker_poke(struct world *w, struct walker *walker) {
  if (draw(w, 2)) walker_ready(w, walker);
  if (!walker_in(walker))
    walker_start(w, walker);
  else if (draw(w, 8) == 0)
    walker_remove(w, walker);
  else
    walker_pause(w, walker, draw(w, 4) == 0);
}

static int32_t identity_of(const struct sequence *q, int i) {
  return q->embed && i < q->n_prompt && q->embed[i] >= 0 ? q->embed[i] : q->tokens[i];
}

/* Token i of a sequence, alone: *next is the next free place. */
static uint64_t token_expect(const struct world *w, const struct sequence *q, int i, uint64_t context, int *next) {
  const struct image_span *image = NULL;
  for (int k = 0; k < q->n_image; k++)
    if (i >= q->image[k].first && i < q->image[k].first + q->image[k].lines * q->image[k].columns) image = &q->image[k];
  int within = image ? i - image->first : 0, last = image ? image->lines * image->columns - 1 : 0;
  int place[3] = {*next, *next + (image ? within / image->columns : 0), *next + (image ? within % image->columns : 0)};
  context = context_extend(context, identity_of(q, i));
  for (int axis = 0; w->axes && axis < 3; axis++) context = context_extend(context, place[axis]);
  for (int k = within + 1; image && w->mutual && k <= last; k++)
    context = context_extend(context, identity_of(q, image->first + k));
  if (!image)
    ++*next;
  else if (within == last)
    *next += image->lines > image->columns ? image->lines : image->columns;
  return context;
}

/* The token that follows n of a sequence's. */
static int32_t answer_of(const struct world *w, const struct sequence *q, int n) {
  uint64_t context = 0;
  int next = 0;
  for (int i = 0; i < q->n_adapter; i++) context = adapter_extend(context, q->adapter[i].id, q->adapter[i].scale);
  for (int i = 0; i < n; i++) context = token_expect(w, q, i, context, &next);
  return context_token(context);
}

static void answer_finish(struct world *w, struct sequence *q) {
  struct walker *walker = q->owner;
  if (q->n_token < q->n_prompt + q->max_tokens) return;
  for (int i = q->n_prompt; i < q->n_token; i++) assert_int_equal(q->tokens[i], answer_of(w, q, i));
  w->n_finished++;
  w->n_adapted += q->n_adapter > 0;
  w->n_seen += q->n_image > 0;
  if (schedule_remove(w->schedule, q)) walker->in[q - walker->sequence] = false;
}

/* All beams have spoken: some become copies of others, and each goes on with any token. */
static void beams_choose(struct world *w, struct walker *walker) {
  int n = walker->group.n;
  for (int i = walker->n_beam; i < n; i++) schedule_fork(w->schedule, &walker->sequence[i], &walker->sequence[0]);
  int to = (int)draw(w, (uint32_t)n), from = (int)draw(w, (uint32_t)n);
  if (walker->n_beam == n && to != from) schedule_fork(w->schedule, &walker->sequence[to], &walker->sequence[from]);
  for (int i = 0; i < n; i++) schedule_extend(w->schedule, &walker->sequence[i], (int32_t)draw(w, 3));
  walker->n_beam = n;
  walker->n_heard = 0;
  if (walker->sequence[0].n_token < walker->sequence[0].n_prompt + walker->sequence[0].max_tokens) return;
  walker_remove(w, walker);
  w->n_searched++;
}

static void event_take(struct world *w, const struct schedule_event *event) {
  struct sequence *q = event->sequence;
  struct walker *walker = q->owner;
  switch (event->kind) {
  case EVENT_OUT: walker->in[q - walker->sequence] = false; break;
  case EVENT_SPOILT:
  case EVENT_VECTOR: walker_remove(w, walker); break; /* no step of these has vectors */
  case EVENT_TOKEN: answer_finish(w, q); break;
  case EVENT_SCORE:
    assert_int_equal(event->token, answer_of(w, q, ++walker->n_scored));
    w->n_scored++;
    break;
  case EVENT_BEAM:
    assert_int_equal(event->token, answer_of(w, q, q->n_token));
    if (walker->n_beam == 0) walker->n_beam = 1;
    if (++walker->n_heard == walker->n_beam) beams_choose(w, walker);
    break;
  }
}

static void oldest_finish(struct world *w) {
  static const float logprob[SEATS];
  struct schedule_events events;
  struct result result = {.n_out = w->flight[0].batch->n_out, .token = w->flight[0].token, .logprob = logprob};
  schedule_done(w->schedule, &result, w->now_us, &events);
  for (int i = 0; i < events.n_event; i++)
    if (events.event[i].kind == EVENT_OUT || !events.event[i].sequence->leaving) event_take(w, &events.event[i]);
  w->flight[0] = w->flight[1];
  w->n_flight--;
}

/* One of the adapters on its way arrives, or now and then does not: then whoever names it goes. */
static void slot_fill(struct world *w, int slot) {
  uint64_t id = w->coming[slot];
  bool fails = draw(w, SLOT_FAILS) == 0;
  w->coming[slot] = 0;
  if (!fails) w->slot[slot] = id;
  schedule_slot_filled(w->schedule, slot, !fails);
  w->n_placed += !fails;
  w->n_refused += fails;
  for (int i = 0; i < WALKERS && fails; i++)
    for (int k = 0; k < walker_in(&w->walkers[i]) * w->walkers[i].sequence[0].n_adapter; k++)
      if (w->walkers[i].sequence[0].adapter[k].id == id) walker_remove(w, &w->walkers[i]);
}

static void slots_take(struct world *w) {
  struct slot_want want;
  while (schedule_slot_wanted(w->schedule, &want)) {
    assert_true(want.sequence->state == SEQUENCE_WAITING && w->coming[want.slot] == 0);
    w->slot[want.slot] = 0;
    w->coming[want.slot] = want.id;
  }
  for (int i = 0; i < SLOTS; i++)
    if (w->coming[i] && draw(w, 3) == 0) slot_fill(w, i);
}

static void world_step(struct world *w) {
  const struct batch *batch = schedule_next(w->schedule, w->now_us += 500);
  if (batch) {
    batch_check_limits(w, batch);
    batch_compute(w, batch);
  }
  slots_take(w);
  slots_check(w->schedule);
  blocks_check(w->schedule);
  if (w->n_flight == w->schedule->n_step || (w->n_flight > 0 && (!batch || draw(w, 2)))) {
    w->now_us += 300;
    oldest_finish(w);
    blocks_check(w->schedule);
  }
}

/* Nobody new comes, everybody reads: all must end. */
static void drain(struct world *w) {
  for (int i = 0; i < WALKERS; i++) walker_ready(w, &w->walkers[i]);
  for (int i = 0; i < WALKERS; i++) walker_pause(w, &w->walkers[i], false);
  for (int step = 0; step < DRAIN_STEPS; step++) world_step(w);
  for (int i = 0; i < WALKERS; i++) assert_false(walker_in(&w->walkers[i]));
  struct schedule_stats stats = stats_of(w->schedule);
  assert_true(stats.kv_used == 0 && stats.waiting == 0 && stats.running == 0 && w->n_flight == 0);
}

static void walk(struct schedule_options options, uint32_t n_block, int n_slot, int n_step) {
  static struct world world;
  struct world *w = &world;
  *w = (struct world){.limits = limits_make(SEATS, STEP_TOKENS, LENGTH, n_block),
                      .seed = 7,
                      .mutual = options.mutual,
                      .axes = options.axes};
  w->limits.adapters = n_slot;
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
  assert_true(w->n_finished > n_step / 200 && w->n_searched > n_step / 2000 && w->n_scored > n_step / 200);
  assert_true(w->n_copied > n_step / 500 && w->n_spoilt > n_step / 2000);
  assert_true(!n_slot || (w->n_adapted > n_step / 400 && w->n_placed > n_step / 400 && w->n_refused > 0));
  assert_true(!(w->mutual || w->axes) || w->n_seen > n_step / 800);
  assert_true(options.no_reuse ? stats.cached_tokens == 0 : stats.cached_tokens > 0);
  assert_true(stats.recomputed_tokens == 0 || stats.preemptions > 0);
  if (n_block <= 12 && options.policy == SCHEDULE_CONTINUOUS) assert_true(stats.preemptions > 0);
  schedule_free(w->schedule);
}

static void test_walk(void **state) {
  (void)state;
  static const uint32_t n_block[] = {11, 24, BLOCKS_MAX};
  static const enum schedule_policy policy[] = {SCHEDULE_CONTINUOUS, SCHEDULE_DYNAMIC, SCHEDULE_STATIC};
  int n_step = (getenv("SPATE_LONG") ? 10000000 : 1000000) / 72;
  for (int i = 0; i < 72; i++) {
    struct schedule_options options = {.run_ahead = i % 2,
                                       .no_reuse = i / 2 % 2 == 1,
                                       .policy = policy[i / 4 % 3],
                                       .mutual = i % 3 == 1,
                                       .axes = i % 3 == 2,
                                       .target_gap_us = i % 5 == 0 ? 900 : 0}; /* a step takes 500 */
    walk(options, n_block[i / 12 % 3], i < 36 ? 0 : SLOTS, n_step);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_walk)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
