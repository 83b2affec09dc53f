/* The lab bench of sampling on the host: microseconds of one row by setting, the best of many passes over rows that
 * differ, of the thread's processor.   bench_sampler [vocabulary]   (49152 by default)
 * The floor of a setting is one read of its logits at the rate that their cache level has: about 2 µs here. */
#include "backend/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 8, PASSES = 60, HISTORY = 2048, PROMPT = 1024 };

static int32_t history[HISTORY];
static const struct token_bias bias[] = {{100, 1}, {2000, -1}, {30000, 5}};
static const int32_t allowed[] = {1, 2, 3, 500, 600, 7000};
static const int32_t bad[] = {1, 17, 2, 5, 6, 3, 7, 8, 9};
static const int32_t end[] = {2, 0};
static const struct logit_rules penalties = {
    .repetition_penalty = 1.1f, .frequency_penalty = 0.5f, .presence_penalty = 0.5f};
static const struct logit_rules all = {.repetition_penalty = 1.1f,
                                       .min_tokens = INT32_MAX,
                                       .bias = bias,
                                       .n_bias = 3,
                                       .bad = bad,
                                       .n_bad = 9,
                                       .end = end,
                                       .n_end = 2};
static const struct logit_rules few = {.allowed = allowed, .n_allowed = 6};

#define HOT .temperature = 0.8f

static const struct {
  const char *name;
  struct sampling sampling;
  bool flat; /* logits of which thousands are likely */
} settings[] = {
    {"greedy", {.top_p = 1}, false},
    {"temperature", {HOT, .top_p = 1}, false},
    {"temperature, top_k 40", {HOT, .top_p = 1, .top_k = 40}, false},
    {"temperature, top_p 0.95", {HOT, .top_p = 0.95f}, false},
    {"temperature, top_k 40, top_p 0.95", {HOT, .top_p = 0.95f, .top_k = 40}, false},
    {"temperature, top_k 1000, top_p 0.95", {HOT, .top_p = 0.95f, .top_k = 1000}, false},
    {"temperature, top_p 0.95, flat logits", {HOT, .top_p = 0.95f}, true},
    {"temperature, min_p 0.05", {HOT, .top_p = 1, .min_p = 0.05f}, false},
    {"temperature, typical_p 0.9", {HOT, .top_p = 1, .typical_p = 0.9f}, false},
    {"top_k 40, penalties over 2048 tokens", {HOT, .top_p = 1, .top_k = 40, .rules = &penalties}, false},
    {"top_k 40, bias, bad words, min_tokens", {HOT, .top_p = 1, .top_k = 40, .rules = &all}, false},
    {"allowed tokens", {HOT, .top_p = 1, .rules = &few}, false},
    {"greedy, logprob", {.top_p = 1, .want_logprob = true}, false},
    {"greedy, 20 logprobs", {.top_p = 1, .want_logprob = true, .n_top = 20}, false},
};

static double thread_us(void) {
  struct timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return 1e6 * (double)used.tv_sec + 1e-3 * (double)used.tv_nsec;
}

/* About normal; in the first rows one of a thousand tokens is much likelier, as a model's are, in the others none. */
static void logits_fill(float *logits, int vocab) {
  for (int i = 0; i < 2 * ROWS * vocab; i++) {
    double sum = 0;
    for (uint64_t k = 0; k < 12; k++) sum += sampler_uniform(k, (uint64_t)i);
    logits[i] = (float)((sum - 6) * 2.5 + (i < ROWS * vocab && i % 1000 == 77 ? 9 : 0));
  }
}

static double row_us(const float *logits, int vocab, const struct sampling *setting, void *scratch) {
  struct sampling sampling = *setting;
  struct sample sample;
  struct error error;
  sampling.history = history, sampling.n_history = HISTORY, sampling.n_prompt = PROMPT;
  double begin = thread_us();
  for (int r = 0; r < ROWS; r++) {
    sampling.index++;
    if (!sampler_draw(logits + (size_t)r * (size_t)vocab, vocab, &sampling, NULL, scratch, &sample, &error)) abort();
  }
  return (thread_us() - begin) / ROWS;
}

int main(int argc, char **argv) {
  int vocab = argc > 1 ? atoi(argv[1]) : 49152;
  float *logits = calloc(2 * (size_t)ROWS * (size_t)vocab, sizeof *logits);
  void *scratch = malloc(sampler_scratch_bytes(vocab));
  if (vocab < 40000 || !logits || !scratch) return fprintf(stderr, "bench_sampler [vocabulary of 40000 or more]\n"), 1;
  logits_fill(logits, vocab);
  for (int i = 0; i < HISTORY; i++) history[i] = i * 37 % 1500;
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    double best = INFINITY;
    const float *rows = logits + (settings[i].flat ? (size_t)ROWS * (size_t)vocab : 0);
    for (int pass = 0; pass < PASSES; pass++) best = fmin(best, row_us(rows, vocab, &settings[i].sampling, scratch));
    printf("%-40s %6.1f us\n", settings[i].name, best);
  }
  free(logits);
  free(scratch);
  return 0;
}
