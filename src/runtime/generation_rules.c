/* Requests' rules. */
#include "runtime/generation_rules.h"

#include "base/limits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- checks ------------------------------------------------------------------------------------------------------- */

static bool range_check(const char *name, float value, float min, float max, struct error *error) {
  if (value >= min && value <= max) return true;
  return error_set(error, ERROR_INVALID, "%s is %g, expected %g to %g.", name, (double)value, (double)min, (double)max);
}

bool sampling_check(const struct sampling *s, int32_t vocab, struct error *error) {
  if (!range_check("temperature", s->temperature, 0, 100, error) || !range_check("min_p", s->min_p, 0, 1, error) ||
      !range_check("typical_p", s->typical_p, 0, 1, error))
    return false;
  if (!(s->top_p > 0 && s->top_p <= 1))
    return error_set(error, ERROR_INVALID, "top_p is %g, expected more than 0 and at most 1.", (double)s->top_p);
  if (s->top_k < 0) return error_set(error, ERROR_INVALID, "top_k is %d, expected 0 (off) or more.", s->top_k);
  int most = vocab < TOP_LOGPROBS ? vocab : TOP_LOGPROBS;
  if (s->n_top < 0 || s->n_top > most)
    return error_set(error, ERROR_INVALID, "top_logprobs is %d, expected 0 to %d.", s->n_top, most);
  if (s->n_top == 0 || s->want_logprob) return true;
  return error_set(error, ERROR_INVALID, "top_logprobs is %d and logprobs is not true: set both.", s->n_top);
}

static bool count_check(const char *name, int32_t count, const void *list, int32_t most, struct error *error) {
  if (count >= 0 && count <= most && (list || count == 0)) return true;
  return error_set(error, ERROR_INVALID, "%s has %d entries, expected 0 to %d and the list that holds them.", name,
                   count, most);
}

static bool id_check(const char *name, int32_t id, int32_t vocab, struct error *error) {
  if (id >= 0 && id < vocab) return true;
  return error_set(error, ERROR_INVALID, "%s has token %d, expected 0 to %d.", name, id, vocab - 1);
}

static bool ids_check(const char *name, const int32_t *ids, int32_t count, int32_t most, int32_t vocab,
                      struct error *error) {
  if (!count_check(name, count, ids, most, error)) return false;
  for (int i = 0; i < count; i++)
    if (!id_check(name, ids[i], vocab, error)) return false;
  return true;
}

static bool biases_check(const struct logit_rules *rules, int32_t vocab, struct error *error) {
  if (!count_check("logit_bias", rules->n_bias, rules->bias, LIMIT_LOGIT_BIASES, error)) return false;
  for (int i = 0; i < rules->n_bias; i++) {
    const struct token_bias *bias = &rules->bias[i];
    if (!id_check("logit_bias", bias->token, vocab, error)) return false;
    if (!(fabsf(bias->bias) <= LIMIT_LOGIT_BIAS))
      return error_set(error, ERROR_INVALID, "logit_bias of token %d is %g, expected -%d to %d.", bias->token,
                       (double)bias->bias, LIMIT_LOGIT_BIAS, LIMIT_LOGIT_BIAS);
  }
  return true;
}

static bool bad_words_check(const struct rule_params *params, struct error *error) {
  if (!count_check("bad_words", params->n_bad_word, params->bad_word, LIMIT_BAD_WORDS, error)) return false;
  for (int i = 0; i < params->n_bad_word; i++)
    if (params->bad_word[i].size < 1 || params->bad_word[i].size > LIMIT_STOP_BYTES)
      return error_set(error, ERROR_INVALID, "Bad word %d has %zu bytes, expected 1 to %d.", i,
                       params->bad_word[i].size, LIMIT_STOP_BYTES);
  return true;
}

bool rule_params_check(const struct rule_params *params, int32_t max_tokens, int32_t vocab, struct error *error) {
  const struct logit_rules *r = &params->rules;
  if (!range_check("repetition_penalty", r->repetition_penalty, 0, 100, error) ||
      !range_check("frequency_penalty", r->frequency_penalty, -2, 2, error) ||
      !range_check("presence_penalty", r->presence_penalty, -2, 2, error))
    return false;
  if (r->min_tokens < 0 || r->min_tokens > max_tokens)
    return error_set(error, ERROR_INVALID, "min_tokens is %d, expected 0 to max_tokens %d.", r->min_tokens, max_tokens);
  int32_t most_allowed = vocab < LIMIT_ALLOWED_TOKENS ? vocab : LIMIT_ALLOWED_TOKENS;
  return biases_check(r, vocab, error) &&
         ids_check("allowed_token_ids", r->allowed, r->n_allowed, most_allowed, vocab, error) &&
         ids_check("stop_token_ids", params->stop_token, params->n_stop_token, LIMIT_STOP_TOKENS, vocab, error) &&
         bad_words_check(params, error);
}

/* --- bad words ---------------------------------------------------------------------------------------------------- */

static bool run_start(struct token_list *runs, struct error *error) {
  return token_list_append(runs, 0) || error_set(error, ERROR_MEMORY, "Out of memory for the bad words.");
}

/* A run {count, ids…}: the count first, as 0, until the ids behind it are known. A word that ends with a token that the
 * network does not have needs no run. */
static bool word_encode(const struct tokenizer *tokenizer, int32_t vocab, struct slice word, struct token_list *runs,
                        struct error *error) {
  size_t place = runs->count;
  if (!run_start(runs, error) || !tokenizer_encode(tokenizer, word, 0, runs, error)) return false;
  runs->ids[place] = (int32_t)(runs->count - place - 1);
  if (runs->ids[runs->count - 1] >= vocab) runs->count = place;
  if (runs->count == place || runs->ids[place] > 0) return true;
  return error_set(error, ERROR_INVALID, "The bad word \"%.*s\" has no tokens: leave it out.", SLICE_ARGS(word));
}

/* As it stands at the start of a line or within a word, and as it stands after another word. */
static bool bad_words_encode(const struct rule_params *params, const struct tokenizer *tokenizer, int32_t vocab,
                             struct token_list *runs, struct error *error) {
  for (int i = 0; i < params->n_bad_word; i++) {
    char spaced[1 + LIMIT_STOP_BYTES] = " ";
    struct slice word = params->bad_word[i];
    memcpy(spaced + 1, word.data, word.size);
    if (!word_encode(tokenizer, vocab, word, runs, error) ||
        !word_encode(tokenizer, vocab, slice_make(spaced, word.size + 1), runs, error))
      return false;
  }
  return true;
}

/* --- compiling ---------------------------------------------------------------------------------------------------- */

enum { ENDS_MOST = GENERATION_END_MAX + TOKENIZER_END_MAX + LIMIT_STOP_TOKENS };

static bool ids_have(const int32_t *ids, int count, int32_t id) {
  for (int i = 0; i < count; i++)
    if (ids[i] == id) return true;
  return false;
}

/* The model's own, once each: those that the network has and the request does not name. */
static void ends_add(const struct rule_params *params, const int32_t *from, int count, int32_t vocab,
                     int32_t ends[ENDS_MOST], int *n_end) {
  for (int i = 0; i < count; i++) {
    bool named = ids_have(ends, *n_end, from[i]) || ids_have(params->stop_token, params->n_stop_token, from[i]);
    if (from[i] >= 0 && from[i] < vocab && !named) ends[(*n_end)++] = from[i];
  }
}

static int ends_collect(const struct rule_params *params, const struct tokenizer *tokenizer,
                        const struct engine_generation *defaults, int32_t vocab, int32_t ends[ENDS_MOST]) {
  const struct tokenizer_facts *facts = tokenizer_facts(tokenizer);
  int n_end = 0;
  if (!params->ignore_end) {
    ends_add(params, defaults->end, defaults->n_end, vocab, ends, &n_end);
    ends_add(params, facts->end, facts->n_end, vocab, ends, &n_end);
  }
  if (params->n_stop_token) memcpy(ends + n_end, params->stop_token, (size_t)params->n_stop_token * sizeof *ends);
  return n_end + params->n_stop_token;
}

/* Copies count elements to *cursor and moves it. */
static const void *array_put(uint8_t **cursor, const void *from, size_t count, size_t size) {
  uint8_t *place = *cursor;
  if (count) memcpy(place, from, count * size);
  *cursor += count * size;
  return place;
}

static struct logit_rules *rules_build(const struct rule_params *params, const struct token_list *runs,
                                       const int32_t *ends, int n_end, struct error *error) {
  const struct logit_rules *from = &params->rules;
  size_t words = runs->count + (size_t)n_end + (size_t)from->n_allowed;
  struct logit_rules *rules =
      malloc(sizeof *rules + words * sizeof(int32_t) + (size_t)from->n_bias * sizeof *from->bias);
  if (!rules) {
    error_set(error, ERROR_MEMORY, "Out of memory for the rules of a request.");
    return NULL;
  }
  uint8_t *cursor = (uint8_t *)(rules + 1);
  *rules = *from;
  rules->n_end = n_end;
  rules->n_bad = (int32_t)runs->count;
  rules->bias = array_put(&cursor, from->bias, (size_t)from->n_bias, sizeof *from->bias);
  rules->allowed = array_put(&cursor, from->allowed, (size_t)from->n_allowed, sizeof(int32_t));
  rules->end = array_put(&cursor, ends, (size_t)n_end, sizeof(int32_t));
  rules->bad = array_put(&cursor, runs->ids, runs->count, sizeof(int32_t));
  return rules;
}

struct logit_rules *rules_compile(const struct rule_params *params, const struct tokenizer *tokenizer,
                                  const struct engine_generation *defaults, int32_t vocab, struct error *error) {
  int32_t ends[ENDS_MOST];
  int n_end = ends_collect(params, tokenizer, defaults, vocab, ends);
  struct token_list runs;
  token_list_init(&runs, rules_charge(params) / sizeof(int32_t));
  bool encoded = bad_words_encode(params, tokenizer, vocab, &runs, error);
  struct logit_rules *rules = encoded ? rules_build(params, &runs, ends, n_end, error) : NULL;
  token_list_release(&runs);
  return rules;
}

bool rules_is_end(const struct logit_rules *rules, int32_t token) { return rules_is_stop(rules, rules->n_end, token); }

bool rules_is_stop(const struct logit_rules *rules, int32_t n_stop_token, int32_t token) {
  return ids_have(rules->end + rules->n_end - n_stop_token, n_stop_token, token);
}

/* A word has at most a token for each byte, twice, with a few for the space and the count. */
size_t rules_charge(const struct rule_params *params) {
  size_t words = ENDS_MOST + (size_t)params->rules.n_allowed;
  for (int i = 0; i < params->n_bad_word; i++) words += 2 * params->bad_word[i].size + 12;
  return sizeof(struct logit_rules) + words * sizeof(int32_t) +
         (size_t)params->rules.n_bias * sizeof(struct token_bias);
}
