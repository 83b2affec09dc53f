/* Sampling one row of logits: rules, then a short list of candidates, then the draw. The passes over the vocabulary are
 * in row_passes_template.h.
 *
 * Scratch, in order: three floats for each group (sums of weights, maxima of the raw and of the ruled logits); for each
 * token of whole groups a float (logits under mask and rules), a float (weights) and a candidate. */
#include "backend/sampler.h"

#include "backend/candidates.h"
#include "backend/logit_rules.h"
#include "backend/random_number.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct scratch {
  const struct row_passes *pass;
  float *sum, *raw_group, *group; /* [groups] */
  float *logit, *weight;          /* [vocab, rounded up to whole groups] */
  struct candidate *list;         /* as many; rules count in its place */
};

size_t sampler_scratch_bytes(int vocab) {
  size_t groups = (size_t)row_groups(vocab);
  return groups * 3 * sizeof(float) + groups * ROW_GROUP * (2 * sizeof(float) + sizeof(struct candidate));
}

static struct scratch scratch_split(void *memory, int vocab) {
  size_t groups = (size_t)row_groups(vocab);
  struct scratch s = {.pass = row_passes_choose(), .sum = memory};
  s.raw_group = s.sum + groups;
  s.group = s.raw_group + groups;
  s.logit = s.group + groups;
  s.weight = s.logit + groups * ROW_GROUP;
  s.list = (struct candidate *)(s.weight + groups * ROW_GROUP);
  return s;
}

/* --- random numbers --------------------------------------------------------------------------------------------- */

double sampler_uniform(uint64_t seed, uint64_t index) { return random_uniform(seed, index); }

/* --- rules ------------------------------------------------------------------------------------------------------ */

/* Puts the mask and the rules between the raw logits and the draw. False: the mask leaves no token. */
static bool row_rule(struct logit_row *row, const struct sampling *sampling, const uint32_t *mask,
                     const struct scratch *s) {
  enum { WITH_BANS, WITHOUT_BANS, MASK_ALONE, N_STAGE };
  const float *raw = row->x;
  bool act = logit_rules_act(sampling);
  if (!mask && !act) return true;
  row->x = s->logit;
  row->group_max = s->group;
  for (int stage = act ? WITH_BANS : MASK_ALONE; stage < N_STAGE; stage++) {
    if (mask)
      s->pass->mask(raw, row->n, mask, s->logit);
    else
      memcpy(s->logit, raw, (size_t)row->n * sizeof *raw);
    if (stage < MASK_ALONE)
      logit_rules_apply(sampling, row->n, stage == WITH_BANS ? RULES_WITH_BANS : RULES_WITHOUT_BANS, s->logit, s->list);
    s->pass->max(row);
    if (row->max > -INFINITY) return true;
  }
  return false;
}

static int row_find_max(const struct logit_row *row) {
  int g = 0;
  while (row->group_max[g] != row->max) g++;
  int i = g * ROW_GROUP;
  while (row->x[i] != row->max) i++;
  return i;
}

/* --- filters ---------------------------------------------------------------------------------------------------- */

/* Candidates' keys are exponents of 2, (logit − max) × scale: they order as probabilities do and do not underflow. */

static int collect_top_k(const struct logit_row *row, int k, float scale, struct candidate *list) {
  int n = candidates_top(row, k, list);
  for (int i = 0; i < n; i++) {
    list[i].key = (list[i].key - row->max) * scale;
    list[i].weight = row_exp2(list[i].key);
  }
  return n;
}

/* A logit below which no weight is `floor`, with room for rounding. */
static float logit_floor(const struct logit_row *row, float scale, float floor) {
  return row->max + (log2f(floor) - 1e-3f) / scale - 1e-3f * fabsf(row->max);
}

/* Those with a weight of at least `floor`. */
static int collect_weighed(const struct logit_row *row, float scale, float floor, const struct scratch *s) {
  float x_floor = logit_floor(row, scale, floor);
  int n = 0;
  for (int g = 0; g < row_groups(row->n); g++) {
    if (row->group_max[g] < x_floor) continue;
    for (int i = g * ROW_GROUP; i < group_end(row->n, g); i++)
      if (s->weight[i] >= floor) s->list[n++] = (struct candidate){(row->x[i] - row->max) * scale, s->weight[i], i};
  }
  return n;
}

/* A weight such that those that are no less have the wanted mass together, and not much more. It starts where the rest
 * has at most (1 − top_p) × total, and halves its distance to the greatest weight, 1, a few times. */
static float nucleus_floor(const struct logit_row *row, float scale, double top_p, double total,
                           const struct scratch *s) {
  enum { HALVINGS = 5 };
  float low = fmaxf(FLT_MIN, (float)((1 - top_p) * total / row->n * (1 - 1e-6))), high = 1;
  for (int i = 0; i < HALVINGS; i++) {
    float middle = sqrtf(low * high);
    if (s->pass->mass(row, s->weight, logit_floor(row, scale, middle), middle) >= top_p * total)
      low = middle;
    else
      high = middle;
  }
  return low;
}

static int keep_min_p(struct candidate *list, int n, float min_p) {
  int kept = 0;
  for (int i = 0; i < n; i++)
    if (list[i].weight >= min_p) list[kept++] = list[i];
  return kept;
}

/* Those whose surprise −log p is nearest to its mean, the entropy. With p = 2ᵏ / Z, and as log Z is in both, their
 * distance is |k − mean of k|. */
static int keep_typical(struct candidate *list, int n, double mass) {
  double total = candidates_weight(list, n), mean = 0;
  for (int i = 0; i < n; i++)
    if (list[i].weight > 0) mean += (double)list[i].weight * (double)list[i].key / total;
  for (int i = 0; i < n; i++) list[i].key = -fabsf(list[i].key - (float)mean);
  return candidates_keep(list, n, mass * total, BY_WEIGHT);
}

/* --- the draw --------------------------------------------------------------------------------------------------- */

/* Candidates in the order of tokens, whatever order selection has left them in: a device that selects otherwise draws
 * the same. */
static int draw_candidate(struct candidate *list, int n, double uniform) {
  double left = uniform * candidates_weight(list, n);
  for (int i = 0; i < n; i++) list[i].key = (float)-list[i].token; /* exact: vocabularies are below 2²⁴ */
  n = candidates_keep(list, n, fmax(left, DBL_TRUE_MIN), BY_WEIGHT);
  return list[n - 1].token;
}

static int draw_weighed(const struct scratch *s, int vocab, double total, double uniform) {
  double left = uniform * total;
  int chunk = 0;
  for (int c = 0; c < row_chunks(vocab); c++) {
    if (s->sum[c] > 0) chunk = c;
    if (left < (double)s->sum[c]) break;
    left -= (double)s->sum[c];
  }
  int last = 0, end = (chunk + 1) * ROW_CHUNK < vocab ? (chunk + 1) * ROW_CHUNK : vocab;
  for (int i = chunk * ROW_CHUNK; i < end; i++) {
    if (s->weight[i] > 0) last = i;
    left -= (double)s->weight[i];
    if (left < 0) break;
  }
  return last;
}

static int token_draw(const struct logit_row *row, const struct sampling *sampling, const struct scratch *s) {
  double uniform = sampler_uniform(sampling->seed, sampling->index), total;
  double top_p = sampling->top_p > 0 ? (double)sampling->top_p : 0;
  float scale = SAMPLER_LOG2E / fminf(sampling->temperature, 1e30f);
  bool nucleus = top_p<1, typical = sampling->typical_p> 0 && sampling->typical_p < 1;
  int n;
  if (sampling->top_k > 0 && sampling->top_k < row->n) {
    n = collect_top_k(row, sampling->top_k, scale, s->list);
    total = candidates_weight(s->list, n);
  } else {
    total = s->pass->weigh(row, scale, s->weight, s->sum);
    if (!nucleus && sampling->min_p <= 0 && !typical) return draw_weighed(s, row->n, total, uniform);
    float floor = nucleus ? nucleus_floor(row, scale, top_p, total, s) : FLT_MIN;
    n = collect_weighed(row, scale, fmaxf(floor, sampling->min_p), s);
  }
  if (nucleus) n = candidates_keep(s->list, n, top_p * total, BY_WEIGHT);
  if (sampling->min_p > 0) n = keep_min_p(s->list, n, sampling->min_p);
  if (typical) n = keep_typical(s->list, n, (double)sampling->typical_p);
  return draw_candidate(s->list, n, uniform);
}

/* --- log-probabilities ------------------------------------------------------------------------------------------ */

static void top_fill(const struct logit_row *row, int n_top, double log_total, struct candidate *list,
                     struct token_logprob *top) {
  int n = candidates_top(row, n_top, list);
  for (int i = 0; i < n_top; i++) {
    if (i < n) candidates_keep(list + i, n - i, 1, BY_COUNT); /* the next greatest to the front */
    top[i] = i < n ? (struct token_logprob){list[i].token, (float)((double)list[i].key - log_total)}
                   : (struct token_logprob){-1, -INFINITY};
  }
}

/* Of sample->token and of the likeliest, in the softmax of this row. */
static void logprobs_fill(const struct logit_row *row, int n_top, const struct scratch *s, struct sample *sample) {
  double log_total = (double)row->max + log(s->pass->weigh(row, SAMPLER_LOG2E, s->weight, s->sum));
  sample->logprob = (float)((double)row->x[sample->token] - log_total);
  if (n_top > 0) top_fill(row, n_top, log_total, s->list, sample->top);
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

bool sampler_draw(const float *logits, int vocab, const struct sampling *sampling, const uint32_t *mask, void *memory,
                  struct sample *sample, struct error *error) {
  struct scratch s = scratch_split(memory, vocab);
  struct logit_row raw = {.x = logits, .n = vocab, .group_max = s.raw_group};
  if (!s.pass->max(&raw) || raw.max == -INFINITY) {
    sample->token = -1;
    sample->logprob = 0;
    return true;
  }
  if (sampling->draw == DRAW_SCORE) {
    sample->token = sampling->target;
    logprobs_fill(&raw, sampling->n_top, &s, sample);
    return true;
  }
  struct logit_row row = raw;
  if (!row_rule(&row, sampling, mask, &s)) return error_set(error, ERROR_INTERNAL, "A mask leaves no token to choose.");
  bool greedy = sampling->draw == DRAW_BEAM || !(sampling->temperature >= SAMPLER_GREEDY);
  sample->token = greedy ? row_find_max(&row) : token_draw(&row, sampling, &s);
  sample->logprob = 0;
  if (sampling->want_logprob) logprobs_fill(sampling->draw == DRAW_BEAM ? &row : &raw, sampling->n_top, &s, sample);
  return true;
}
