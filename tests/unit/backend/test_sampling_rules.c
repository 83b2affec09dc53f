/* Rules and filters against an independent implementation (tools/make_sampler_fixture.py): for each case the draws have
 * its distribution, nothing that it leaves out is ever drawn, and the greedy token is its likeliest. And what a request
 * that contradicts itself does, log-probabilities of the likeliest, and that a draw depends on its own row alone. */
#include "backend/sampler.h"
#include "base/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOCAB = 75, LIST_MAX = 80, DRAWS = 20000 };

static _Alignas(8) unsigned char memory[1 << 14];

struct wanted {
  struct sampling sampling;
  struct logit_rules rules;
  float logits[VOCAB];
  double p[VOCAB];
  int32_t history[LIST_MAX], allowed[LIST_MAX], ends[LIST_MAX], bad[LIST_MAX];
  struct token_bias bias[LIST_MAX];
};

/* --- the fixture -------------------------------------------------------------------------------------------------- */

static float number_of(const json_t *object, const char *name, double fallback) {
  const json_t *value = json_object_get(object, name);
  return (float)(value ? json_number_value(value) : fallback);
}

static int ids_read(const json_t *object, const char *name, int32_t *ids) {
  const json_t *list = json_object_get(object, name);
  for (size_t i = 0; i < json_array_size(list); i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
  return (int)json_array_size(list);
}

static void lists_read(const json_t *object, struct wanted *w) {
  const json_t *biases = json_object_get(object, "bias"), *words = json_object_get(object, "bad_words");
  w->rules.n_allowed = ids_read(object, "allowed", w->allowed);
  w->rules.n_end = ids_read(object, "ends", w->ends);
  for (size_t i = 0; i < json_array_size(biases); i++) {
    const json_t *pair = json_array_get(biases, i);
    w->bias[i] = (struct token_bias){(int32_t)json_integer_value(json_array_get(pair, 0)),
                                     (float)json_number_value(json_array_get(pair, 1))};
  }
  w->rules.n_bias = (int32_t)json_array_size(biases);
  for (size_t i = 0; i < json_array_size(words); i++) {
    const json_t *word = json_array_get(words, i);
    w->bad[w->rules.n_bad++] = (int32_t)json_array_size(word);
    for (size_t k = 0; k < json_array_size(word); k++)
      w->bad[w->rules.n_bad++] = (int32_t)json_integer_value(json_array_get(word, k));
  }
}

static void case_read(const json_t *rows, const json_t *object, struct wanted *w) {
  *w = (struct wanted){.rules = {.repetition_penalty = number_of(object, "repetition_penalty", 1),
                                 .frequency_penalty = number_of(object, "frequency_penalty", 0),
                                 .presence_penalty = number_of(object, "presence_penalty", 0),
                                 .min_tokens = (int32_t)number_of(object, "min_tokens", 0)},
                       .sampling = {.temperature = number_of(object, "temperature", 1),
                                    .top_k = (int32_t)number_of(object, "top_k", 0),
                                    .top_p = number_of(object, "top_p", 1),
                                    .min_p = number_of(object, "min_p", 0),
                                    .typical_p = number_of(object, "typical_p", 1),
                                    .n_prompt = (int32_t)number_of(object, "n_prompt", 0)}};
  lists_read(object, w);
  w->sampling.n_history = ids_read(object, "history", w->history);
  w->sampling.index = (uint64_t)(w->sampling.n_history - w->sampling.n_prompt);
  const json_t *row = json_array_get(rows, (size_t)number_of(object, "row", 0));
  for (size_t i = 0; i < VOCAB; i++) {
    w->logits[i] = (float)json_number_value(json_array_get(row, i));
    w->p[i] = json_number_value(json_array_get(json_object_get(object, "p"), i));
  }
  w->rules.allowed = w->allowed, w->rules.end = w->ends, w->rules.bad = w->bad, w->rules.bias = w->bias;
  w->sampling.rules = &w->rules, w->sampling.history = w->history;
}

static struct sample draw(const float *logits, int vocab, const struct sampling *sampling) {
  struct sample sample;
  struct error error = {0};
  assert_true(sampler_scratch_bytes(vocab) <= sizeof memory);
  if (!sampler_draw(logits, vocab, sampling, NULL, memory, &sample, &error)) fail_msg("%s", error.text);
  return sample;
}

/* --- distributions ------------------------------------------------------------------------------------------------ */

/* Pearson's statistic against its mean and five standard deviations; rare tokens are one cell. The position is given by
 * index, which min_tokens reads: the seed varies. */
static void case_check(size_t number, struct wanted *w) {
  int count[VOCAB] = {0}, likeliest = 0, cells = 0;
  double statistic = 0, rest = 0, rest_count = 0;
  for (int i = 0; i < DRAWS; i++) {
    w->sampling.seed = (uint64_t)i * 977 + number;
    count[draw(w->logits, VOCAB, &w->sampling).token]++;
  }
  for (int i = 0; i < VOCAB; i++) {
    double expected = w->p[i] * DRAWS;
    if (w->p[i] > w->p[likeliest]) likeliest = i;
    if (w->p[i] == 0 && count[i])
      fail_msg("case %zu: token %d is left out and was drawn %d times", number, i, count[i]);
    if (expected < 5) {
      rest += expected, rest_count += count[i];
      continue;
    }
    statistic += (count[i] - expected) * (count[i] - expected) / expected;
    cells++;
  }
  if (rest >= 5) statistic += (rest_count - rest) * (rest_count - rest) / rest, cells++;
  double bound = cells - 1 + 5 * sqrt(2.0 * cells);
  if (statistic > bound)
    fail_msg("case %zu: chi-square %.1f over %d cells, at most %.1f", number, statistic, cells, bound);
  if (w->sampling.typical_p < 1) return; /* which may leave out the likeliest */
  w->sampling.temperature = 0;
  assert_int_equal(draw(w->logits, VOCAB, &w->sampling).token, likeliest);
}

static void test_oracle(void **state) {
  (void)state;
  struct error error = {0};
  json_t *root = json_read(FIXTURES "/backend/sampling.json", 1 << 20, &error);
  if (!root) fail_msg("%s", error.text);
  const json_t *cases = json_object_get(root, "cases");
  assert_true(json_array_size(cases) > 40);
  for (size_t i = 0; i < json_array_size(cases); i++) {
    struct wanted wanted;
    case_read(json_object_get(root, "rows"), json_array_get(cases, i), &wanted);
    case_check(i, &wanted);
  }
  json_decref(root);
}

/* --- what contradicts itself -------------------------------------------------------------------------------------- */

/* Bans come off before the allowed tokens do; logits that are all −∞ where allowed take those off too. */
static void test_contradictions(void **state) {
  (void)state;
  static const int32_t allowed[] = {7, 8}, ends[] = {7, 8}, bad[] = {1, 7, 1, 8};
  static const float bent[] = {-INFINITY, 1, 3};
  const struct logit_rules held = {.allowed = allowed, .n_allowed = 2, .end = ends, .n_end = 2, .min_tokens = 5};
  const struct logit_rules banned = {.allowed = allowed, .n_allowed = 2, .bad = bad, .n_bad = 4};
  const struct logit_rules *const rules[] = {&held, &banned};
  static const int32_t none[] = {0};
  const struct logit_rules nothing = {.allowed = none, .n_allowed = 1};
  float logits[10] = {[3] = 9, [8] = 2};
  for (int i = 0; i < 2; i++) {
    struct sampling sampling = {.top_p = 1, .rules = rules[i]};
    assert_int_equal(draw(logits, 10, &sampling).token, 8);
  }
  struct sampling sampling = {.top_p = 1, .rules = &nothing};
  assert_int_equal(draw(bent, 3, &sampling).token, 2);
}

/* The smallest penalties and the largest logits stay numbers. */
static void test_extremes(void **state) {
  (void)state;
  static const int32_t history[] = {0, 1, 1};
  const struct logit_rules rules = {.repetition_penalty = 1e-38f, .frequency_penalty = 2, .presence_penalty = -2};
  const float logits[] = {3e38f, -3e38f, 0, 1};
  struct sampling sampling = {
      .temperature = 1, .top_p = 0.9f, .rules = &rules, .history = history, .n_history = 3, .n_prompt = 1};
  for (; sampling.seed < 50; sampling.seed++) assert_int_equal(draw(logits, 4, &sampling).token, 0);
}

/* --- log-probabilities -------------------------------------------------------------------------------------------- */

static void test_top_logprobs(void **state) {
  (void)state;
  float logits[VOCAB];
  double total = 0;
  for (int i = 0; i < VOCAB; i++) logits[i] = (float)(i * 37 % VOCAB) * 0.1f;
  logits[9] = logits[40];
  for (int i = 0; i < VOCAB; i++) total += exp((double)logits[i]);
  for (int n = 0; n <= TOP_LOGPROBS; n++) {
    struct sampling sampling = {.temperature = 1, .top_p = 1, .want_logprob = true, .n_top = n, .seed = (uint64_t)n};
    struct sample sample = draw(logits, VOCAB, &sampling);
    assert_true(fabs((double)sample.logprob - ((double)logits[sample.token] - log(total))) < 1e-5);
    for (int i = 0; i < n; i++) {
      const struct token_logprob *top = &sample.top[i];
      assert_true(fabs((double)top->logprob - ((double)logits[top->token] - log(total))) < 1e-5);
      int before = 0; /* tokens that go before this one */
      for (int t = 0; t < VOCAB; t++)
        before += logits[t] > logits[top->token] || (logits[t] == logits[top->token] && t < top->token);
      assert_int_equal(before, i);
    }
  }
  const float few[] = {1, -INFINITY, 2};
  struct sampling sampling = {.top_p = 1, .want_logprob = true, .n_top = 3};
  struct sample sample = draw(few, 3, &sampling);
  assert_int_equal(sample.top[0].token, 2);
  assert_int_equal(sample.top[1].token, 0);
  assert_int_equal(sample.top[2].token, -1);
}

/* Neither the scratch that other rows leave behind nor log-probabilities change a draw. */
static void test_own_row_alone(void **state) {
  (void)state;
  struct error error = {0};
  json_t *root = json_read(FIXTURES "/backend/sampling.json", 1 << 20, &error);
  if (!root) fail_msg("%s", error.text);
  const json_t *cases = json_object_get(root, "cases");
  for (size_t i = 0; i < json_array_size(cases); i++) {
    struct wanted wanted;
    case_read(json_object_get(root, "rows"), json_array_get(cases, i), &wanted);
    wanted.sampling.seed = i;
    memset(memory, 0, sizeof memory);
    int token = draw(wanted.logits, VOCAB, &wanted.sampling).token;
    memset(memory, 0xff, sizeof memory);
    wanted.sampling.want_logprob = true;
    wanted.sampling.n_top = 5;
    assert_int_equal(draw(wanted.logits, VOCAB, &wanted.sampling).token, token);
  }
  json_decref(root);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_oracle),       cmocka_unit_test(test_contradictions), cmocka_unit_test(test_extremes),
      cmocka_unit_test(test_top_logprobs), cmocka_unit_test(test_own_row_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
