/* The schedule's state and its first policy. */
#include "schedule/schedule.h"

#include "schedule/kv_blocks.h"
#include "schedule/step.h"

#include <assert.h>
#include <stdlib.h>

struct seat {
  struct sequence *sequence;    /* NULL: free */
  uint32_t *table[PLAN_GROUPS]; /* [blocks of the longest sequence] */
};

struct schedule {
  struct limits limits;
  int n_group;
  struct kv_blocks blocks;
  struct seat *seats;            /* [limits.seats] */
  uint32_t *tables;              /* what the seats' tables are cut from */
  struct sequence *first, *last; /* waiting, by priority and then arrival */
  struct step *steps;            /* ring of n_step */
  int n_step, oldest, n_out;     /* steps out: n_out of them, from oldest on */
  struct schedule_event *events; /* [limits.seats + limits.outputs] */
  uint64_t n_admitted;
  struct schedule_stats stats;
};

static uint32_t blocks_for(const struct schedule *s, int64_t tokens) {
  return (uint32_t)((tokens + s->limits.block_size - 1) / s->limits.block_size);
}

static bool seats_init(struct schedule *s) {
  uint32_t per_table = blocks_for(s, s->limits.length);
  size_t seats = (size_t)s->limits.seats;
  s->seats = calloc(seats, sizeof *s->seats);
  s->tables = calloc(seats * (size_t)s->n_group * per_table + 1, sizeof *s->tables);
  if (!s->seats || !s->tables) return false;
  uint32_t *next = s->tables;
  for (size_t i = 0; i < seats; i++)
    for (int g = 0; g < s->n_group; g++, next += per_table) s->seats[i].table[g] = next;
  return true;
}

struct schedule *schedule_new(const struct limits *limits, int n_group, int run_ahead) {
  struct schedule *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  *s = (struct schedule){.limits = *limits, .n_group = n_group, .n_step = run_ahead + 1};
  s->steps = calloc((size_t)s->n_step, sizeof *s->steps);
  s->events = calloc((size_t)(limits->seats + limits->outputs), sizeof *s->events);
  bool ready = s->steps && s->events && seats_init(s) && kv_blocks_init(&s->blocks, n_group, limits->n_block);
  for (int i = 0; ready && i < s->n_step; i++) ready = step_init(&s->steps[i], limits);
  if (ready) return s;
  schedule_free(s);
  return NULL;
}

void schedule_free(struct schedule *s) {
  if (!s) return;
  for (int i = 0; s->steps && i < s->n_step; i++) step_release(&s->steps[i]);
  kv_blocks_release(&s->blocks);
  free(s->steps);
  free(s->events);
  free(s->seats);
  free(s->tables);
  free(s);
}

bool schedule_fits(const struct schedule *s, int n_prompt, int max_tokens, struct error *error) {
  int64_t total = (int64_t)n_prompt + max_tokens;
  if (total > s->limits.length)
    return error_set(error, ERROR_LIMIT,
                     "The prompt has %d tokens and %d more are asked for: %lld, more than max_seq_len %d.", n_prompt,
                     max_tokens, (long long)total, s->limits.length);
  for (int g = 0; g < s->n_group; g++)
    if (blocks_for(s, total) > s->blocks.n_total[g])
      return error_set(error, ERROR_LIMIT,
                       "%lld tokens need %u KV blocks; the cache has %u: ask for less or give it more memory.",
                       (long long)total, blocks_for(s, total), s->blocks.n_total[g]);
  return true;
}

/* --- the waiting list --------------------------------------------------------------------------------------------- */

void schedule_add(struct schedule *s, struct sequence *sequence) {
  sequence->state = SEQUENCE_WAITING;
  sequence->n_token = sequence->n_prompt;
  sequence->length = 0;
  sequence->paused = sequence->in_flight = sequence->leaving = false;
  struct sequence *before = s->last;
  while (before && before->priority > sequence->priority) before = before->previous;
  sequence->previous = before;
  sequence->next = before ? before->next : s->first;
  *(sequence->next ? &sequence->next->previous : &s->last) = sequence;
  *(before ? &before->next : &s->first) = sequence;
  s->stats.waiting++;
}

static void waiting_unlink(struct schedule *s, struct sequence *sequence) {
  *(sequence->previous ? &sequence->previous->next : &s->first) = sequence->next;
  *(sequence->next ? &sequence->next->previous : &s->last) = sequence->previous;
  sequence->previous = sequence->next = NULL;
  s->stats.waiting--;
}

static int seat_free(const struct schedule *s) {
  for (int i = 0; i < s->limits.seats; i++)
    if (!s->seats[i].sequence) return i;
  return -1;
}

static bool first_admit(struct schedule *s) {
  struct sequence *sequence = s->first;
  int seat = seat_free(s);
  if (!sequence || seat < 0) return false;
  uint32_t count = blocks_for(s, (int64_t)sequence->n_prompt + sequence->max_tokens);
  if (!kv_blocks_take(&s->blocks, count, s->seats[seat].table)) return false;
  waiting_unlink(s, sequence);
  sequence->state = SEQUENCE_RUNNING;
  sequence->seat = seat;
  sequence->n_block = count;
  sequence->admitted = s->n_admitted++;
  s->seats[seat].sequence = sequence;
  s->stats.running++;
  return true;
}

static void seat_leave(struct schedule *s, struct sequence *sequence) {
  kv_blocks_give(&s->blocks, sequence->n_block, s->seats[sequence->seat].table);
  s->seats[sequence->seat].sequence = NULL;
  sequence->state = SEQUENCE_OUT;
  sequence->seat = -1;
  s->stats.running--;
}

bool schedule_remove(struct schedule *s, struct sequence *sequence) {
  if (sequence->in_flight) {
    sequence->leaving = true;
    return false;
  }
  if (sequence->state == SEQUENCE_WAITING) waiting_unlink(s, sequence);
  if (sequence->state == SEQUENCE_RUNNING) seat_leave(s, sequence);
  sequence->state = SEQUENCE_OUT;
  return true;
}

void schedule_pause(struct schedule *s, struct sequence *sequence, bool paused) {
  (void)s;
  sequence->paused = paused;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static bool runnable(const struct sequence *sequence) {
  return sequence && !sequence->paused && !sequence->in_flight && !sequence->leaving &&
         sequence->length < sequence->n_token && sequence->n_token < sequence->n_prompt + sequence->max_tokens;
}

/* The runnable sequence that was admitted first. */
static struct sequence *oldest_runnable(const struct schedule *s) {
  struct sequence *best = NULL;
  for (int i = 0; i < s->limits.seats; i++) {
    struct sequence *sequence = s->seats[i].sequence;
    if (runnable(sequence) && (!best || sequence->admitted < best->admitted)) best = sequence;
  }
  return best;
}

const struct batch *schedule_next(struct schedule *s, uint64_t now_us) {
  (void)now_us; /* this policy does not wait for anything */
  if (s->n_out == s->n_step) return NULL;
  struct sequence *sequence = oldest_runnable(s);
  if (!sequence && first_admit(s)) sequence = oldest_runnable(s);
  if (!sequence) return NULL;
  struct step *step = &s->steps[(s->oldest + s->n_out++) % s->n_step];
  int pending = sequence->n_token - sequence->length;
  step_clear(step);
  step_add(step, sequence, pending < s->limits.tokens ? pending : s->limits.tokens, s->n_group,
           s->seats[sequence->seat].table);
  s->stats.steps++;
  return &step->batch;
}

static bool leaving_finish(struct schedule *s, struct sequence *sequence) {
  if (!sequence->leaving) return false;
  seat_leave(s, sequence);
  return true;
}

void schedule_done(struct schedule *s, const struct result *result, struct schedule_events *events) {
  assert(s->n_out > 0);
  struct step *step = &s->steps[s->oldest];
  int count = 0;
  for (int i = 0; i < step->batch.n_row; i++) {
    struct sequence *sequence = step->sequence[i];
    sequence->in_flight = false;
    int fed_prompt = sequence->length < sequence->n_prompt ? sequence->length : sequence->n_prompt;
    int before = sequence->length - step->row[i].count;
    if (fed_prompt > before) s->stats.prompt_tokens += (uint64_t)(fed_prompt - before);
    if (leaving_finish(s, sequence)) s->events[count++] = (struct schedule_event){sequence, -1, 0};
  }
  for (int i = 0; i < step->batch.n_out; i++) {
    struct sequence *sequence = step->out_sequence[i];
    if (sequence->state == SEQUENCE_OUT) continue;
    assert(sequence->n_token < sequence->n_prompt + sequence->max_tokens);
    sequence->tokens[sequence->n_token++] = result->token[i];
    s->events[count++] = (struct schedule_event){sequence, result->token[i], result->logprob[i]};
    s->stats.generated_tokens++;
  }
  s->oldest = (s->oldest + 1) % s->n_step;
  s->n_out--;
  *events = (struct schedule_events){count, s->events};
}

void schedule_abandon(struct schedule *s) {
  for (; s->n_out > 0; s->n_out--, s->oldest = (s->oldest + 1) % s->n_step)
    for (int i = 0; i < s->steps[s->oldest].batch.n_row; i++) s->steps[s->oldest].sequence[i]->in_flight = false;
}

void schedule_stats(const struct schedule *s, struct schedule_stats *stats) {
  *stats = s->stats;
  for (int g = 0; g < s->n_group; g++) {
    uint32_t total = s->blocks.n_total[g];
    double used = total ? (double)(total - s->blocks.n_free[g]) / total : 0;
    if (used > stats->kv_used) stats->kv_used = used;
  }
}
