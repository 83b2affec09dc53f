/* The sampler: known answers of its generator, edges of each filter, and draws counted against exact probabilities. */
#include "backend/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { VOCAB = 1000, DRAWS = 20000 };

static _Alignas(8) unsigned char memory[1 << 16];

static struct sample draw(const float *logits, int vocab, struct sampling sampling, const uint32_t *mask) {
  struct sample sample;
  struct error error = {0};
  assert_true(sampler_scratch_bytes(vocab) <= sizeof memory);
  if (!sampler_draw(logits, vocab, &sampling, mask, memory, &sample, &error)) fail_msg("%s", error.text);
  return sample;
}

/* Logits of a vocabulary in an order that is not sorted, about normal with the given spread; every 50th is doubled, so
 * that there are ties. */
static void logits_fill(float *logits, int vocab, double spread) {
  for (int i = 0; i < vocab; i++) {
    double sum = 0;
    for (uint64_t k = 0; k < 12; k++) sum += sampler_uniform(7 + k, (uint64_t)(i / 50 * 50 + (i % 50 ? i % 50 : 1)));
    logits[i] = (float)((sum - 6) * spread);
  }
}

/* --- generator -------------------------------------------------------------------------------------------------- */

/* From the kat_vectors of Random123, the generator's reference implementation. */
static void test_generator(void **state) {
  (void)state;
  assert_true(sampler_uniform(0, 0) == (double)(0x6627e8d5e169c58dull >> 11) * 0x1p-53);
  double low = 1, high = 0, sum = 0;
  for (uint64_t i = 0; i < DRAWS; i++) {
    double u = sampler_uniform(3, i);
    low = fmin(low, u), high = fmax(high, u), sum += u;
  }
  assert_true(low >= 0 && low < 1e-3 && high > 1 - 1e-3 && high < 1);
  assert_true(fabs(sum / DRAWS - 0.5) < 5 * sqrt(1.0 / 12 / DRAWS));
}

/* --- exact distribution, by sorting ----------------------------------------------------------------------------- */

struct ranked {
  double logit, p;
  int token;
};

static int ranked_compare(const void *a, const void *b) {
  const struct ranked *x = a, *y = b;
  if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
  return x->token - y->token;
}

/* The probability of each token as the header defines it. */
static void distribution(const float *logits, int vocab, const struct sampling *s, const uint32_t *mask, double *p) {
  struct ranked *list = calloc((size_t)vocab, sizeof *list);
  int n = 0;
  for (int i = 0; i < vocab; i++)
    if (!mask || mask[i / 32] >> (i % 32) & 1) list[n++] = (struct ranked){.logit = logits[i], .token = i};
  qsort(list, (size_t)n, sizeof *list, ranked_compare);
  double total = 0, kept = 0;
  if (s->top_k > 0 && s->top_k < n) n = s->top_k;
  for (int i = 0; i < n; i++) total += list[i].p = exp((list[i].logit - list[0].logit) / s->temperature);
  int nucleus = 0;
  while (nucleus < n && (nucleus == 0 || kept < s->top_p * total)) kept += list[nucleus++].p;
  for (int i = 0; i < vocab; i++) p[i] = 0;
  for (int i = 0; i < nucleus; i++) p[list[i].token] = list[i].p / kept;
  free(list);
}

/* Pearson's statistic over tokens expected at least five times (the rest is one cell), against its mean + 5 standard
 * deviations: with fixed seeds this passes or fails for good. */
static void counts_check(const char *name, const int *count, const double *p, int vocab) {
  double statistic = 0, rest = 0, rest_count = 0;
  int cells = 0;
  for (int i = 0; i < vocab; i++) {
    if (p[i] == 0 && count[i]) fail_msg("%s: token %d was drawn %d times; it is filtered out", name, i, count[i]);
    if (p[i] * DRAWS < 5) {
      rest += p[i] * DRAWS, rest_count += count[i];
      continue;
    }
    statistic += (count[i] - p[i] * DRAWS) * (count[i] - p[i] * DRAWS) / (p[i] * DRAWS);
    cells++;
  }
  if (rest >= 5) statistic += (rest_count - rest) * (rest_count - rest) / rest, cells++;
  double bound = cells - 1 + 5 * sqrt(2.0 * cells);
  if (statistic > bound) fail_msg("%s: chi-square %.1f over %d cells, at most %.1f", name, statistic, cells, bound);
}

static const struct {
  const char *name;
  int vocab;
  double spread;
  struct sampling sampling;
  bool masked;
} cases[] = {
    {"plain", VOCAB, 2, {.temperature = 1, .top_p = 1}, false},
    {"short vocabulary", 7, 1, {.temperature = 1, .top_p = 1}, false},
    {"cold", VOCAB, 2, {.temperature = 0.5f, .top_p = 1}, false},
    {"huge temperature", VOCAB, 2, {.temperature = 1e30f, .top_p = 1}, false},
    {"infinite temperature", VOCAB, 2, {.temperature = INFINITY, .top_p = 1}, false},
    {"top_k", VOCAB, 2, {.temperature = 1, .top_p = 1, .top_k = 40}, false},
    {"top_k of half", VOCAB, 1, {.temperature = 1, .top_p = 1, .top_k = VOCAB / 2}, false},
    {"top_k over vocabulary", VOCAB, 2, {.temperature = 1, .top_p = 1, .top_k = VOCAB + 5}, false},
    {"top_k flat", VOCAB, 2, {.temperature = 1e30f, .top_p = 1, .top_k = 10}, false},
    {"top_p", VOCAB, 2, {.temperature = 1, .top_p = 0.9f}, false},
    {"top_p of nearly all", VOCAB, 1, {.temperature = 1, .top_p = 0.999f}, false},
    {"top_p flat", VOCAB, 0.01, {.temperature = 1, .top_p = 0.5f}, false},
    {"top_k, then top_p", VOCAB, 2, {.temperature = 0.8f, .top_p = 0.7f, .top_k = 50}, false},
    {"mask", VOCAB, 2, {.temperature = 1, .top_p = 1}, true},
    {"mask, top_k over what it leaves", VOCAB, 2, {.temperature = 1, .top_p = 1, .top_k = 900}, true},
    {"mask, top_k, top_p", VOCAB, 2, {.temperature = 1.5f, .top_p = 0.8f, .top_k = 100}, true},
};

static void test_distribution(void **state) {
  (void)state;
  float logits[VOCAB];
  double p[VOCAB];
  uint32_t mask[(VOCAB + 31) / 32];
  for (int i = 0; i < (VOCAB + 31) / 32; i++) mask[i] = 0x11111111;
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    int count[VOCAB] = {0}, vocab = cases[c].vocab;
    struct sampling sampling = cases[c].sampling;
    const uint32_t *bits = cases[c].masked ? mask : NULL;
    logits_fill(logits, vocab, cases[c].spread);
    distribution(logits, vocab, &sampling, bits, p);
    sampling.seed = c;
    for (int i = 0; i < DRAWS; i++) {
      sampling.index = (uint64_t)i;
      count[draw(logits, vocab, sampling, bits).token]++;
    }
    counts_check(cases[c].name, count, p, vocab);
  }
}

/* --- edges ------------------------------------------------------------------------------------------------------ */

static void test_greedy(void **state) {
  (void)state;
  float logits[VOCAB];
  logits_fill(logits, VOCAB, 1);
  logits[300] = logits[301] = logits[999] = 50;
  const struct sampling greedy[] = {
      {.temperature = 0, .top_p = 1},
      {.temperature = 1e-30f, .top_p = 1},
      {.temperature = 0, .top_p = 0.1f, .top_k = 3},
      {.temperature = 1, .top_p = 1, .top_k = 1},
      {.temperature = 1, .top_p = 1e-9f},
      {.temperature = 1, .top_p = 0},
      {.temperature = 2, .top_p = 0.3f, .top_k = 500},
  };
  for (size_t i = 0; i < sizeof greedy / sizeof *greedy; i++)
    for (uint64_t seed = 0; seed < 20; seed++) {
      struct sampling s = greedy[i];
      s.seed = seed;
      assert_int_equal(draw(logits, VOCAB, s, NULL).token, 300);
    }
  uint32_t mask[(VOCAB + 31) / 32] = {0};
  mask[301 / 32] = 1u << (301 % 32);
  assert_int_equal(draw(logits, VOCAB, greedy[0], mask).token, 301);
  assert_int_equal(draw(logits, VOCAB, (struct sampling){.temperature = 9, .top_p = 1}, mask).token, 301);
}

static void test_logprob(void **state) {
  (void)state;
  float logits[VOCAB];
  logits_fill(logits, VOCAB, 2);
  logits[5] = -INFINITY;
  double total = 0;
  for (int i = 0; i < VOCAB; i++) total += exp(logits[i]);
  uint32_t mask[(VOCAB + 31) / 32];
  for (int i = 0; i < (VOCAB + 31) / 32; i++) mask[i] = 0xF0F0F0F0;
  for (uint64_t i = 0; i < 200; i++) {
    struct sampling s = {.temperature = 0.7f, .top_p = 0.95f, .top_k = (int32_t)i, .seed = i, .want_logprob = true};
    struct sample sample = draw(logits, VOCAB, s, i % 2 ? mask : NULL);
    assert_true(fabs(sample.logprob - (logits[sample.token] - log(total))) < 1e-5);
    assert_int_not_equal(sample.token, 5);
  }
}

static void test_shifted_and_far(void **state) {
  (void)state;
  float logits[40] = {0};
  for (int i = 0; i < 40; i++) logits[i] = i == 17 ? 3e38f : -3e38f;
  assert_int_equal(draw(logits, 40, (struct sampling){.temperature = 1, .top_p = 1}, NULL).token, 17);
  assert_true(draw(logits, 40, (struct sampling){.temperature = 1, .top_p = 1, .want_logprob = true}, NULL).logprob ==
              0);
  float one = -4;
  assert_int_equal(draw(&one, 1, (struct sampling){.temperature = 1, .top_p = 0.5f, .top_k = 1}, NULL).token, 0);
}

static void test_refused(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -NAN};
  const uint32_t none[2] = {0};
  struct sampling sampling = {.temperature = 1, .top_p = 1};
  struct sample sample;
  for (size_t i = 0; i < 3; i++)
    for (int place = 0; place < 40; place += 13) {
      float logits[40] = {0};
      struct error error = {0};
      logits[place] = bad[i];
      assert_true(sampler_draw(logits, 40, &sampling, NULL, memory, &sample, &error));
      assert_int_equal(sample.token, -1);
    }
  struct error error = {0};
  assert_false(sampler_draw((float[40]){0}, 40, &sampling, none, memory, &sample, &error));
  assert_string_equal(error.text, "A mask leaves no token to choose.");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_generator), cmocka_unit_test(test_distribution),    cmocka_unit_test(test_greedy),
      cmocka_unit_test(test_logprob),   cmocka_unit_test(test_shifted_and_far), cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
