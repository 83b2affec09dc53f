/* Rules applied to logits. */
#include "backend/logit_rules.h"

#include <math.h>
#include <string.h>

static bool repeats(const struct logit_rules *r) { return r->repetition_penalty > 0 && r->repetition_penalty != 1; }

static bool penalizes(const struct logit_rules *r) {
  return repeats(r) || r->frequency_penalty != 0 || r->presence_penalty != 0;
}

static bool holds_ends(const struct sampling *s) {
  return s->rules->n_end > 0 && s->index < (uint64_t)s->rules->min_tokens;
}

bool logit_rules_act(const struct sampling *s) {
  const struct logit_rules *r = s->rules;
  return r && (r->n_bias > 0 || r->n_allowed > 0 || r->n_bad > 0 || penalizes(r) || holds_ends(s));
}

static void keep_allowed(const struct logit_rules *r, int vocab, float *x, float *kept) {
  for (int i = 0; i < r->n_allowed; i++) kept[i] = x[r->allowed[i]];
  for (int i = 0; i < vocab; i++) x[i] = -INFINITY;
  for (int i = 0; i < r->n_allowed; i++) x[r->allowed[i]] = kept[i];
}

static void ban_words(const struct sampling *s, float *x) {
  for (int32_t at = 0; at < s->rules->n_bad; at += 1 + s->rules->bad[at]) {
    const int32_t *word = s->rules->bad + at;
    int before = word[0] - 1;
    if (before > s->n_history) continue;
    size_t bytes = (size_t)before * sizeof *word;
    bool follows = before == 0 || memcmp(s->history + s->n_history - before, word + 1, bytes) == 0;
    if (follows) x[word[1 + before]] = -INFINITY;
  }
}

/* A logit that a tiny penalty makes too large stays finite. */
static float repeat_penalize(float x, float penalty) { return x > 0 ? fminf(x / penalty, 1e30f) : x * penalty; }

/* Each token of the history once: its count, which only generated ones add to, becomes −1 when it is done. */
static void penalize(const struct sampling *s, float *x, int32_t *count) {
  const struct logit_rules *r = s->rules;
  const int32_t *token = s->history;
  int first = repeats(r) ? 0 : s->n_prompt;
  for (int i = first; i < s->n_history; i++) count[token[i]] = 0;
  for (int i = s->n_prompt; i < s->n_history; i++) count[token[i]]++;
  for (int i = first; i < s->n_history; i++) {
    int32_t *times = &count[token[i]];
    if (*times < 0) continue;
    float *logit = &x[token[i]];
    if (repeats(r)) *logit = repeat_penalize(*logit, r->repetition_penalty);
    if (*times > 0) *logit -= r->frequency_penalty * (float)*times + r->presence_penalty;
    *times = -1;
  }
}

void logit_rules_apply(const struct sampling *s, int vocab, enum rule_bans bans, float *x, void *scratch) {
  const struct logit_rules *r = s->rules;
  if (r->n_allowed > 0) keep_allowed(r, vocab, x, scratch);
  if (bans == RULES_WITH_BANS) {
    ban_words(s, x);
    for (int i = 0; holds_ends(s) && i < r->n_end; i++) x[r->end[i]] = -INFINITY;
  }
  for (int i = 0; i < r->n_bias; i++) x[r->bias[i].token] += r->bias[i].bias;
  if (penalizes(r)) penalize(s, x, scratch);
}
