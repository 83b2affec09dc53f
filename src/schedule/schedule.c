/* The schedule's life, and what happens to sequences from outside: they come, pause, go, and get results. */
#include "schedule/schedule.h"

#include "schedule/schedule_state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* --- life --------------------------------------------------------------------------------------------------------- */

static bool seats_init(struct schedule *s) {
  size_t seats = (size_t)s->limits.seats;
  s->table_size = blocks_for(s, s->limits.length);
  s->running = calloc(seats, sizeof(struct sequence *));
  s->free_seat = calloc(seats, sizeof *s->free_seat);
  s->tables = calloc(seats * s->table_size + 1, sizeof *s->tables);
  if (!s->running || !s->free_seat || !s->tables) return false;
  for (int i = s->limits.seats - 1; i >= 0; i--) s->free_seat[s->n_free_seat++] = i; /* seat 0 on top */
  return true;
}

/* The blocks that exist in every group. */
static uint32_t blocks_total(const struct schedule *s) {
  uint32_t total = s->limits.n_block[0];
  for (int g = 1; g < s->n_group; g++)
    if (s->limits.n_block[g] < total) total = s->limits.n_block[g];
  return total;
}

static bool steps_init(struct schedule *s, const struct schedule_options *options) {
  s->steps = calloc((size_t)s->n_step, sizeof *s->steps);
  s->events = calloc((size_t)s->limits.seats + (size_t)s->limits.outputs, sizeof *s->events);
  bool ready = s->steps && s->events;
  for (int i = 0; ready && i < s->n_step; i++) ready = step_init(&s->steps[i], options);
  return ready;
}

struct schedule *schedule_new(const struct schedule_options *options) {
  struct schedule *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  *s = (struct schedule){.limits = *options->limits,
                         .n_group = options->n_group,
                         .n_vector = options->n_vector,
                         .n_step = options->run_ahead + 1,
                         .step_tile = options->step_tile,
                         .text_tokens = options->text_tokens,
                         .policy = options->policy,
                         .batch_delay_us = options->batch_delay_us,
                         .mutual = options->mutual,
                         .rested = true,
                         .reuse = !options->no_reuse && options->n_group > 0 &&
                                  options->limits->block_size <= REUSE_BLOCK_MAX,
                         .key = options->key};
  gap_target_init(&s->gap, options->target_gap_us);
  if (steps_init(s, options) && seats_init(s) && schedule_slots_init(&s->slots, s->limits.adapters) &&
      kv_blocks_init(&s->blocks, blocks_total(s)))
    return s;
  schedule_free(s);
  return NULL;
}

void schedule_free(struct schedule *s) {
  if (!s) return;
  for (int i = 0; s->steps && i < s->n_step; i++) step_release(&s->steps[i]);
  kv_blocks_release(&s->blocks);
  schedule_slots_release(&s->slots);
  free(s->steps);
  free(s->events);
  free(s->running);
  free(s->free_seat);
  free(s->tables);
  free(s);
}

/* --- sequences ---------------------------------------------------------------------------------------------------- */

bool schedule_fits(const struct schedule *s, int n_prompt, int max_tokens, int n_beam, struct error *error) {
  int64_t total = (int64_t)n_prompt + max_tokens;
  uint32_t need = n_beam > 0 ? beams_blocks(s, n_prompt, max_tokens, n_beam) : blocks_for(s, total);
  if (total > s->limits.length)
    return error_set(error, ERROR_LIMIT,
                     "The prompt has %d tokens and %d more are asked for: %lld, more than max_seq_len %d.", n_prompt,
                     max_tokens, (long long)total, s->limits.length);
  if (n_beam > s->limits.seats)
    return error_set(error, ERROR_LIMIT, "The search has %d beams, more than max_batch_size %d.", n_beam,
                     s->limits.seats);
  if (need <= s->blocks.n_total) return true;
  if (n_beam == 0)
    return error_set(error, ERROR_LIMIT,
                     "%lld tokens need %u KV blocks; the cache has %u: ask for less or give it more memory.",
                     (long long)total, need, s->blocks.n_total);
  return error_set(error, ERROR_LIMIT,
                   "%d beams of %lld tokens may need %u KV blocks; the cache has %u: ask for fewer or shorter ones.",
                   n_beam, (long long)total, need, s->blocks.n_total);
}

int schedule_image_most(const struct schedule *s, bool scores_prompt) {
  int beside = s->limits.tokens - s->limits.seats + 1, scored = (s->limits.outputs - s->limits.seats + 2) / 2;
  return scores_prompt && scored < beside ? scored : beside;
}

static void sequence_enter(struct schedule *s, struct sequence *q, enum sequence_state state, uint64_t now_us) {
  assert(q->tenant >= 0 && q->tenant < SCHEDULE_TENANTS);
  q->state = state;
  q->arrival = s->n_arrival + (uint64_t)q->behind;
  q->arrived_us = now_us;
  q->n_token = q->n_prompt + q->n_before;
  q->returning = q->n_before > 0;
  if (!q->returning) q->started_us = 0;
  if (!q->returning) q->reached = q->n_cached = q->n_scored = q->n_preempted = 0;
  q->length = q->n_step = q->n_out = 0;
  q->n_block = q->n_findable = 0;
  q->paused = q->leaving = q->retreating = q->blind = q->held = q->chained = q->claims = false;
  q->paused_step = q->passed_step = 0;
  q->ahead = 0;
  q->hopeless = false;
  tenant_enter(&s->waiting, q);
}

void schedule_add(struct schedule *s, struct sequence *q, uint64_t now_us) {
  sequence_enter(s, q, SEQUENCE_WAITING, now_us);
  if (q->group) {
    q->group->forked = false;
    q->group->n_in = 0;
    q->group->n_pool = 0;
    for (struct sequence *other = q->sibling; other; other = other->sibling)
      sequence_enter(s, other, SEQUENCE_COMING, now_us);
  }
  if (!q->unready) schedule_ready(s, q);
  s->n_arrival++;
  waiting_add(&s->waiting, q);
}

bool schedule_remove(struct schedule *s, struct sequence *q) {
  if (q->state == SEQUENCE_OUT) return true;
  q->leaving = true;
  if (q->n_step > 0) return false;
  if (q->state == SEQUENCE_RUNNING) return sequence_settle(s, q);
  if (q->state == SEQUENCE_WAITING) {
    waiting_remove(&s->waiting, q);
    adapters_give_up(s, q);
  }
  tenant_leave(&s->waiting, q);
  q->state = SEQUENCE_OUT;
  return true;
}

void schedule_pause(struct schedule *s, struct sequence *q, bool paused) {
  if (paused && !q->paused) q->paused_step = s->n_formed;
  q->paused = paused;
  if (paused) adapters_give_up(s, q); /* others would wait for whoever does not read */
}

void schedule_rank(struct schedule *s, uint64_t now_us) { waiting_rank(&s->waiting, &s->starts, now_us); }

int64_t schedule_wait_us(const struct schedule *s, int ahead) { return start_wait_us(&s->starts, ahead); }

/* --- time beside steps -------------------------------------------------------------------------------------------- */

double schedule_aside_us(const struct schedule *s) {
  if (s->rested) return -1;
  double share = s->gap.target_us > 0 ? gap_target_aside_us(&s->gap, &s->streams)
                                      : pace_aside_us(&s->pace, (int)s->streams.streams);
  return s->streams.streams > 0 && share > 0 ? share : ASIDE_SHARE * s->step_us;
}

void schedule_aside(struct schedule *s, double us) { s->aside_us += us; }

/* --- steps -------------------------------------------------------------------------------------------------------- */

const struct batch *schedule_next(struct schedule *s, uint64_t now_us) {
  if (s->n_out == s->n_step) return NULL;
  struct step *step = &s->steps[(s->oldest + s->n_out) % s->n_step];
  step_form(s, step, now_us);
  if (step->batch.n_row == 0) {
    if (s->n_out == 0) s->rested = true, s->aside_us = 0;
    return NULL;
  }
  s->aside_us = 0;
  step->rested = s->rested;
  s->rested = false;
  s->n_out++;
  s->stats.steps++;
  return &step->batch;
}

static int32_t overlap(int32_t first, int32_t end, int32_t from, int32_t to) {
  if (first < from) first = from;
  if (end > to) end = to;
  return end > first ? end - first : 0;
}

static void row_count(struct schedule_stats *stats, struct sequence *q, const struct row *row) {
  int32_t end = row->length + row->count;
  stats->recomputed_tokens += (uint64_t)overlap(row->length, end, 0, q->reached);
  stats->prompt_tokens += (uint64_t)overlap(row->length, end, q->reached, q->n_prompt);
  if (q->reached < end) q->reached = end;
}

static bool numbers_finite(const float *numbers, int count) {
  for (int i = 0; i < count; i++)
    if (!isfinite(numbers[i])) return false;
  return true;
}

static struct schedule_event vector_take(struct schedule *s, const struct step *step, int index,
                                         const struct result *result) {
  struct sequence *q = step->out_sequence[index];
  struct schedule_event event = {.kind = EVENT_VECTOR, .sequence = q, .token = -1};
  event.vector = result->logits ? result->logits + (size_t)index * (size_t)s->n_vector : NULL;
  if (!event.vector || !numbers_finite(event.vector, s->n_vector)) event.kind = EVENT_SPOILT;
  q->n_out--;
  return event;
}

/* What an output of a step that is done says. */
static struct schedule_event output_take(struct schedule *s, const struct step *step, int index,
                                         const struct result *result) {
  struct sequence *q = step->out_sequence[index];
  enum draw_kind draw = step->sampling[index].draw;
  bool spoilt = result->token[index] < 0;
  struct schedule_event event = {.kind = spoilt               ? EVENT_SPOILT
                                         : draw == DRAW_SCORE ? EVENT_SCORE
                                         : draw == DRAW_BEAM  ? EVENT_BEAM
                                                              : EVENT_TOKEN,
                                 .sequence = q,
                                 .token = result->token[index],
                                 .logprob = result->logprob[index],
                                 .top = result->top ? result->top + index * TOP_LOGPROBS : NULL};
  if (draw != DRAW_SCORE) q->n_out--;
  if (spoilt) prefix_disown(s, q);
  if (spoilt || draw != DRAW_TOKEN || q->leaving) return event;
  assert(q->n_token < q->n_prompt + q->max_tokens);
  q->tokens[q->n_token++] = event.token;
  s->stats.generated_tokens++;
  return event;
}

static int outputs_take(struct schedule *s, const struct step *step, const struct result *result) {
  int count = 0;
  for (int i = 0; i < step->batch.n_out; i++) {
    s->events[count] = s->n_vector ? vector_take(s, step, i, result) : output_take(s, step, i, result);
    count += !step->out_sequence[i]->leaving;
  }
  return count;
}

/* A stream waits from one step's end to the next one's; a device that runs ahead has begun a step by then. */
static void time_observe(struct schedule *s, const struct step *step, uint64_t now_us) {
  uint64_t began_us = step->formed_us > s->done_us ? step->formed_us : s->done_us;
  pace_observe(&s->pace, step->n_stream, step->batch.n_token - step->n_stream, now_us - began_us);
  struct step_shape shape = step_shape_of(step);
  double gap_us = (double)(now_us - (step->rested ? step->formed_us : s->done_us));
  if (s->gap.target_us > 0) gap_target_observe(&s->gap, &shape, gap_us, step->rested ? 0 : step->aside_us);
  s->streams = (struct step_shape){.streams = shape.streams, .stream_context = shape.stream_context};
  s->step_us = (double)(now_us - began_us);
  s->done_us = now_us;
}

void schedule_done(struct schedule *s, const struct result *result, uint64_t now_us, struct schedule_events *events) {
  assert(s->n_out > 0);
  const struct step *step = &s->steps[s->oldest];
  int count = outputs_take(s, step, result);
  for (int i = 0; i < step->batch.n_row; i++) {
    struct sequence *q = step->sequence[i];
    row_count(&s->stats, q, &step->row[i]);
    prefix_publish(s, q, step->row[i].length + step->row[i].count);
    q->n_step--;
    if (sequence_settle(s, q)) s->events[count++] = (struct schedule_event){.kind = EVENT_OUT, .sequence = q};
  }
  time_observe(s, step, now_us);
  s->oldest = (s->oldest + 1) % s->n_step;
  s->n_out--;
  *events = (struct schedule_events){count, s->events};
}

void schedule_abandon(struct schedule *s) {
  for (; s->n_out > 0; s->n_out--, s->oldest = (s->oldest + 1) % s->n_step) {
    const struct step *step = &s->steps[s->oldest];
    for (int i = 0; i < step->batch.n_row; i++) step->sequence[i]->n_step = step->sequence[i]->n_out = 0;
  }
  s->rested = true;
}

void schedule_stats(const struct schedule *s, struct schedule_stats *stats) {
  uint32_t held = s->blocks.n_total - kv_blocks_available(&s->blocks);
  *stats = s->stats;
  stats->waiting = s->waiting.count;
  stats->running = s->n_running;
  stats->adapters = adapter_slots_used(s);
  if (s->gap.target_us > 0) stats->gap_sequences = gap_target_sequences(&s->gap, s->limits.seats);
  stats->gap_p99_us = s->gap.p99_us;
  stats->gaps_missed = s->gap.missed;
  stats->kv_used = s->blocks.n_total ? (double)held / s->blocks.n_total : 0;
}
