/* What goes into a step: a token of every stream first, then prompts, oldest first, then newcomers, as far as the
 * step's tokens go. */
#include "schedule/schedule_state.h"

enum {
  LOOKED_MAX = 256,  /* waiting sequences that are looked at to size a step's prompts: bounds its cost */
  TEXTS_US = 100000, /* of a step of texts that keep nothing */
  TEXTS_LEAST = 256, /* tokens of it: fewer would have the weights read too often */
};

static int least(int64_t a, int b) { return a < b ? (int)a : b; }

/* The next count tokens of a sequence; false when there are no blocks for them. */
static bool row_add(struct schedule *s, struct step *step, struct sequence *q, int count) {
  if (!blocks_reach(s, q, (int64_t)q->length + count) || !block_own(s, step, q)) return false;
  step_add(step, q, count, s->n_group, sequence_table(s, q));
  s->waiting.tenant[q->tenant].credit -= count;
  return true;
}

static bool step_full(const struct schedule *s, const struct step *step) {
  return step->batch.n_token == s->limits.tokens || step->batch.n_out == s->limits.outputs;
}

/* Under a target searches get what the limit leaves beside the streams, one row at least: beams come in turn, over
 * several steps where they are many, since nobody reads their tokens meanwhile. They have all their blocks, so nobody
 * is preempted for them. */
static void beams_add(struct schedule *s, struct step *step) {
  int left = gap_target_sequences(&s->gap, s->limits.seats) - step->batch.n_row;
  if (left < 1) left = 1;
  for (int i = 0; i < s->n_running && left > 0 && !step_full(s, step); i++) {
    struct sequence *q = s->running[(s->n_formed + (uint64_t)i) % (uint64_t)s->n_running];
    if (sequence_beams(q) && sequence_runnable(q) && sequence_decodes(q)) left -= row_add(s, step, q, 1);
  }
}

/* Streams in the order of the running list, so that preemption, which takes its end, never meets one that is in. */
static void streams_add(struct schedule *s, struct step *step) {
  bool beams_apart = s->gap.target_us > 0;
  for (int i = 0; i < s->n_running; i++) {
    struct sequence *q = s->running[i];
    if (!sequence_runnable(q) || !sequence_decodes(q) || (beams_apart && sequence_beams(q))) continue;
    if (step_full(s, step)) return;
    row_add(s, step, q, 1);
    if (i == s->n_running || s->running[i] != q) i--; /* it had to go itself */
  }
  if (beams_apart) beams_add(s, step);
}

/* Tokens of a prompt that the outputs left in this step allow: its last one needs one, and each that is scored. */
static int outputs_allow(const struct schedule *s, const struct step *step, const struct sequence *q) {
  int pending = (group_forks(q) ? q->n_prompt - 1 : sequence_expected(q)) - q->length;
  int left = s->limits.outputs - step->batch.n_out, scored = q->n_scored > q->length ? q->n_scored - q->length : 0;
  if (left == 0 && q->length + pending == sequence_expected(q)) pending--;
  bool scores = q->scores_prompt && q->n_scored < q->n_prompt - 1;
  return scores ? least(pending, (left + 1) / 2 + scored) : pending; /* others want theirs for their first tokens */
}

/* Tokens that the blocks that are there have room for. */
static int64_t blocks_allow(const struct schedule *s, const struct sequence *q) {
  uint32_t available = sequence_beams(q) ? q->group->n_pool : kv_blocks_available(&s->blocks);
  return ((int64_t)q->n_block + available) * s->limits.block_size - q->length;
}

/* So many tokens of a prompt, or those before an image that would be cut, or, where they begin with it, all of it: more
 * than the budget, and with fewer blocks left preemption decides. 0: it waits for a step with room. */
static int images_whole(const struct schedule *s, const struct step *step, const struct sequence *q, int count) {
  int whole = image_step_end(q->image, q->n_image, q->length, q->length + count) - q->length;
  bool fits = whole <= s->limits.tokens - step->batch.n_token && whole <= outputs_allow(s, step, q);
  return whole <= count || fits ? whole : 0;
}

/* How many tokens of a prompt go into this step: within the budget, the outputs and the blocks that are there. With no
 * block left one token is asked for, and preemption decides. */
static int chunk_size(const struct schedule *s, const struct step *step, const struct sequence *q, int budget) {
  int64_t room = blocks_allow(s, q);
  int count = least(room > 0 ? room : 1, least(outputs_allow(s, step, q), budget));
  return s->mutual && q->n_image > 0 && count > 0 ? images_whole(s, step, q, count) : count;
}

/* A text is computed whole, so the first of a step may be longer than the budget. */
static void chunk_add(struct schedule *s, struct step *step, struct sequence *q, int *budget) {
  bool lone = s->n_group == 0 && step->batch.n_token == 0;
  int count = chunk_size(s, step, q, lone ? s->limits.tokens : *budget);
  if (s->n_group == 0 && q->length + count < q->n_prompt) {
    *budget = 0; /* it is whole in the next step */
    return;
  }
  if (count > 0 && row_add(s, step, q, count)) *budget -= count;
}

static void prompts_add(struct schedule *s, struct step *step, int *budget) {
  for (int i = 0; i<s->n_running && * budget> 0; i++) {
    struct sequence *q = s->running[i];
    if (!sequence_runnable(q) || sequence_decodes(q)) continue;
    chunk_add(s, step, q, budget);
    if (i == s->n_running || s->running[i] != q) i--;
  }
}

static void newcomers_add(struct schedule *s, struct step *step, int *budget, uint64_t now_us) {
  struct sequence *q;
  while (*budget > 0 && (q = admission_next(s, now_us))) {
    group_fork(s, q); /* when all of its prompt that is shared was found */
    chunk_add(s, step, q, budget);
  }
}

/* Sequences that wait and whose adapters and images are on the device, if they need any; at most `most`. */
static int count_startable(const struct schedule *s, int most) {
  int count = s->waiting.count - s->waiting.n_adapted, looked = 0;
  for (int t = 0; s->waiting.n_adapted > 0 && t < SCHEDULE_TENANTS; t++)
    for (const struct sequence *q = s->waiting.tenant[t].first; q && count < most && looked < LOOKED_MAX; q = q->next) {
      looked++;
      count += (q->n_adapter > 0 || q->n_span > 0) && adapters_allow(s, q);
    }
  return least(count, most);
}

/* Requests that wait for their first token and could get it: prompts that run, and as many others as there are seats.
 */
static int requests_waiting(const struct schedule *s) {
  int count = count_startable(s, s->limits.seats - s->n_running);
  for (int i = 0; i < s->n_running; i++) count += sequence_runnable(s->running[i]) && !sequence_decodes(s->running[i]);
  return count > 1 ? count : 1;
}

/* Tokens of its prompt in front that are in the cache: the next ones look back at them. */
static int32_t prompt_cached(const struct schedule *s) {
  for (int i = 0; i < s->n_running; i++)
    if (sequence_runnable(s->running[i]) && !sequence_decodes(s->running[i])) return s->running[i]->length;
  return 0;
}

/* Texts that keep nothing: so many that whoever comes next does not wait for long, and that weights are read for. */
static int texts_budget(const struct schedule *s) {
  int most = s->text_tokens > 0 ? least(s->text_tokens, s->limits.tokens) : s->limits.tokens;
  double tokens = s->pace.prompt_us > 0 ? TEXTS_US / s->pace.prompt_us : most;
  return least(tokens > TEXTS_LEAST ? (int64_t)tokens : TEXTS_LEAST, most);
}

/* How many tokens of prompts go beside the streams. */
static int prompts_budget(struct schedule *s, const struct step *step) {
  if (s->n_group == 0) return texts_budget(s);
  if (step->n_stream == 0) return s->limits.tokens;
  if (s->gap.target_us <= 0)
    return pace_prompt_tokens(&s->pace, step->n_stream, requests_waiting(s), step->aside_us, s->limits.tokens,
                              s->step_tile);
  struct step_shape shape = step_shape_of(step);
  s->stats.gap_prompt_tokens =
      gap_target_prompt_tokens(&s->gap, &shape, prompt_cached(s), step->aside_us, s->limits.tokens, s->step_tile);
  return s->stats.gap_prompt_tokens;
}

void step_form(struct schedule *s, struct step *step, uint64_t now_us) {
  s->n_formed++;
  s->n_examined = 0;
  step_clear(step);
  step->batch.want_logits = s->n_vector > 0;
  step->formed_us = now_us;
  step->aside_us = s->aside_us;
  groups_fork(s);
  streams_add(s, step);
  step->n_stream = step->batch.n_row;
  int budget = prompts_budget(s, step);
  prompts_add(s, step, &budget);
  adapters_claim(s);
  newcomers_add(s, step, &budget, now_us);
}
