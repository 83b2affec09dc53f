/* Who of those that wait may start: whose turn it is, whether the policy lets anyone in, and whether there is room. */
#include "schedule/schedule_state.h"

enum {
  EXAMINED_MAX = 64,         /* waiting sequences looked at for one step: bounds its cost */
  RETURN_SHARE = 8,          /* a preempted sequence returns when 1/8 of all blocks stays free */
  PAUSE_PATIENCE = 64,       /* steps for which a paused sequence keeps what others wait for */
  STATIC_DELAY_US = 1000000, /* so that the last, incomplete batch runs too */
};

/* --- policies ----------------------------------------------------------------------------------------------------- */

static uint64_t batch_delay(const struct schedule *s) {
  return s->policy == SCHEDULE_STATIC ? STATIC_DELAY_US : s->batch_delay_us;
}

/* Those of the last batch are all out, and others wait. */
static bool batch_forms(const struct schedule *s) { return s->n_running == 0 && s->waiting.count > 0; }

int64_t schedule_due(const struct schedule *s, uint64_t now_us) {
  if (s->policy == SCHEDULE_CONTINUOUS || s->batch_left > 0 || !batch_forms(s)) return -1;
  uint64_t due = waiting_since(&s->waiting) + batch_delay(s);
  return due > now_us ? (int64_t)(due - now_us) : 0;
}

/* May new sequences start? Those that come back from preemption may always: their batch has begun. */
static bool policy_open(struct schedule *s, uint64_t now_us) {
  if (s->policy == SCHEDULE_CONTINUOUS || s->batch_left > 0) return true;
  if (!batch_forms(s)) return false;
  if (s->waiting.count < s->limits.seats && schedule_due(s, now_us) > 0) return false;
  s->batch_left = s->waiting.count < s->limits.seats ? s->waiting.count : s->limits.seats;
  return true;
}

/* --- room --------------------------------------------------------------------------------------------------------- */

bool sequence_idles(const struct schedule *s, const struct sequence *q) {
  return q->paused && q->n_step == 0 && !q->leaving && !sequence_beams(q) &&
         s->n_formed - q->paused_step >= PAUSE_PATIENCE;
}

/* A client that has not read for long gives up the place of one that nobody else could use. */
static bool paused_retire(struct schedule *s) {
  for (int i = s->n_running - 1; i >= 0; i--) {
    struct sequence *q = s->running[i];
    if (!sequence_idles(s, q)) continue;
    sequence_preempt(s, q);
    return true;
  }
  return false;
}

static uint32_t growing_count(const struct schedule *s) {
  uint32_t count = 0;
  for (int i = 0; i < s->n_running; i++) {
    const struct sequence *q = s->running[i];
    count += !sequence_beams(q) && q->n_block < blocks_for(s, q->n_prompt + (int64_t)q->max_tokens - 1);
  }
  return count;
}

/* All that it knows must fit, beside a block for each that runs and grows: one that stops half way helps nobody. What
 * fits into an empty cache may always enter it. */
static bool room_for(const struct schedule *s, const struct sequence *q, const struct prefix_match *match) {
  if (s->n_running == 0) return true;
  uint64_t whole =
      sequence_beams(q) ? beams_blocks(s, q->n_prompt, q->max_tokens, q->group->n) : blocks_for(s, q->n_token);
  uint64_t need = whole - match->n_block + (uint64_t)growing_count(s);
  if (q->returning) need += s->blocks.n_total / RETURN_SHARE;
  return kv_blocks_available(&s->blocks) - match->n_idle >= need;
}

/* --- admission ---------------------------------------------------------------------------------------------------- */

static bool may_start(const struct schedule *s, const struct sequence *q, bool open) {
  return !q->paused && q->passed_step != s->n_formed && (open || q->returning) && adapters_allow(s, q);
}

/* Who may not start is not looked at again for this step. */
static struct sequence *tenant_candidate(const struct schedule *s, struct tenant *tenant, bool open) {
  if (tenant->look_step != s->n_formed) tenant->look = tenant->first;
  tenant->look_step = s->n_formed;
  while (tenant->look && !may_start(s, tenant->look, open)) tenant->look = tenant->look->next;
  return tenant->look;
}

static struct sequence *candidate_choose(struct schedule *s, bool open) {
  struct sequence *candidate[SCHEDULE_TENANTS];
  for (int t = 0; t < SCHEDULE_TENANTS; t++) candidate[t] = tenant_candidate(s, &s->waiting.tenant[t], open);
  return waiting_choose(&s->waiting, candidate);
}

static void first_admission(struct schedule *s, struct sequence *q, uint64_t now_us) {
  if (s->batch_left > 0) s->batch_left--;
  start_observe(&s->starts, now_us, s->waiting.count > 0);
  q->n_cached = q->length;
  q->started_us = now_us;
  s->stats.queried_tokens += (uint64_t)q->n_prompt;
  s->stats.cached_tokens += (uint64_t)q->length;
}

static void admit(struct schedule *s, struct sequence *q, const struct prefix_match *match, uint64_t now_us) {
  waiting_remove(&s->waiting, q);
  adapters_give_up(s, q);
  running_enter(s, q);
  for (uint32_t i = 0; i < match->n_block; i++) kv_blocks_hold(&s->blocks, sequence_table(s, q)[i]);
  q->n_block = q->n_findable = match->n_block;
  q->hash = match->hash;
  q->chained = true;
  q->length = (int32_t)match->n_block * s->limits.block_size;
  if (!q->returning) first_admission(s, q, now_us);
  if (q->reached < q->length) q->reached = q->length;
  if (sequence_beams(q)) beams_enter(s, q);
}

/* The table of the seat that will be taken next. */
static uint32_t *next_table(const struct schedule *s) {
  return s->tables + (size_t)s->free_seat[s->n_free_seat - 1] * s->table_size;
}

static int beams_share(int limit) { return limit > 1 ? limit / 2 : 1; }

/* What a sequence, or the search that it begins, counts of those that may run: a search half of them at most. */
static int64_t weight_of(const struct sequence *q, int limit) {
  if (!sequence_beams(q)) return 1;
  if (q != q->group->first) return 0;
  return q->group->n < beams_share(limit) ? q->group->n : beams_share(limit);
}

/* Those that are paused cost a step nothing. When they go on there may be more than the limit, until as many have
 * ended. */
bool target_open(const struct schedule *s, const struct sequence *q) {
  if (s->gap.target_us <= 0) return true;
  int limit = gap_target_sequences(&s->gap, s->limits.seats);
  int64_t count = weight_of(q, limit);
  for (int i = 0; i < s->n_running; i++)
    if (!s->running[i]->paused) count += weight_of(s->running[i], limit);
  return count <= limit;
}

static bool seats_free(struct schedule *s, const struct sequence *q) {
  if (!target_open(s, q)) return false;
  while (s->n_free_seat < (int)group_seats(q))
    if (!paused_retire(s)) return false;
  return true;
}

/* Rows that it would need are not there, and its owner gets them: then it comes anew. */
static bool turns_out_blind(const struct schedule *s, struct sequence *q, const struct prefix_match *match) {
  q->blind = (int64_t)match->n_block * s->limits.block_size < q->n_blind;
  if (q->blind) q->unready = true;
  return q->blind;
}

struct sequence *admission_next(struct schedule *s, uint64_t now_us) {
  if (s->waiting.count == 0) s->batch_left = 0;
  if (s->waiting.count == 0 || s->n_retreating > 0) return NULL;
  bool open = policy_open(s, now_us);
  while (s->n_examined++ < EXAMINED_MAX) {
    struct sequence *q = candidate_choose(s, open);
    if (!q || !seats_free(s, q)) return NULL;
    struct prefix_match match = prefix_find(s, q, next_table(s));
    if (match.coming) {
      q->passed_step = s->n_formed;
      continue;
    }
    if (turns_out_blind(s, q, &match)) continue;
    if (room_for(s, q, &match)) {
      admit(s, q, &match, now_us);
      return q;
    }
    if (!paused_retire(s)) return NULL;
  }
  return NULL;
}
