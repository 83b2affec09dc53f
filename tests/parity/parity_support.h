/* What parity tests share: fixtures of expected logits, an FP32 engine built from a model, how far logits differ. */
#ifndef SPATE_TESTS_PARITY_SUPPORT_H
#define SPATE_TESTS_PARITY_SUPPORT_H

#include "spate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* tools/README.md has the layout. */
struct expected_logits {
  int32_t n_token, vocab, n_row; /* n_row: positions whose logits are stored */
  int32_t *token, *position;     /* [n_token], [n_row] */
  float *logits;                 /* [n_row][vocab] */
};

static inline void read_exactly(FILE *file, void *out, size_t size) {
  if (fread(out, 1, size, file) != size) abort();
}

static inline void *read_array(FILE *file, size_t count, size_t size) {
  void *out = calloc(count, size);
  if (!out) abort();
  read_exactly(file, out, count * size);
  return out;
}

/* Numbers of 16 bits, from the lowest on. */
static inline float *read_codes(FILE *file, size_t count) {
  float scale[2];
  read_exactly(file, scale, sizeof scale);
  uint16_t *code = read_array(file, count, sizeof *code);
  float *out = calloc(count, sizeof *out);
  if (!out) abort();
  for (size_t i = 0; i < count; i++) out[i] = (float)((double)scale[0] + (double)scale[1] * code[i]);
  free(code);
  return out;
}

/* `some`: the file names the positions that it has; otherwise it has all. */
static inline struct expected_logits expected_read(const char *path, bool some) {
  struct expected_logits e;
  char magic[8];
  FILE *file = fopen(path, "rb");
  if (!file) fail_msg("%s cannot be opened", path);
  read_exactly(file, magic, sizeof magic);
  bool coded = memcmp(magic, "SPLOGI16", 8) == 0;
  if (!coded) assert_memory_equal(magic, "SPLOGITS", 8);
  read_exactly(file, &e.n_token, 4);
  read_exactly(file, &e.vocab, 4);
  e.token = read_array(file, (size_t)e.n_token, 4);
  e.n_row = e.n_token;
  if (some) {
    read_exactly(file, &e.n_row, 4);
    e.position = read_array(file, (size_t)e.n_row, 4);
  } else {
    e.position = calloc((size_t)e.n_row, 4);
    for (int i = 0; i < e.n_row; i++) e.position[i] = i;
  }
  size_t count = (size_t)e.n_row * (size_t)e.vocab;
  e.logits = coded ? read_codes(file, count) : read_array(file, count, sizeof *e.logits);
  fclose(file);
  return e;
}

static inline void expected_release(struct expected_logits *e) {
  free(e->token);
  free(e->position);
  free(e->logits);
}

static inline float logits_range(const float *logits, size_t count) {
  float low = logits[0], high = logits[0];
  for (size_t i = 1; i < count; i++) {
    low = fminf(low, logits[i]);
    high = fmaxf(high, logits[i]);
  }
  return high - low;
}

/* The largest difference as a part of the expected logits' range. actual: [n_token][vocab]. */
static inline double logits_difference(const struct expected_logits *e, const float *actual) {
  float most = 0;
  for (int i = 0; i < e->n_row; i++) {
    const float *a = actual + (size_t)e->position[i] * (size_t)e->vocab, *b = e->logits + (size_t)i * (size_t)e->vocab;
    for (int k = 0; k < e->vocab; k++) {
      float d = fabsf(a[k] - b[k]);
      if (!(d <= most)) most = d; /* a NaN stays */
    }
  }
  return (double)(most / logits_range(e->logits, (size_t)e->n_row * (size_t)e->vocab));
}

/* Builds an FP32 engine at `output` for a target (the name of a backend); false leaves the sentence in *error. */
static inline bool engine_make(const char *model, const char *target, const char *output, spate_error *error) {
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.target = target;
  build.output = output;
  build.quant_mode = "FP32";
  build.max_batch_size = 2;
  build.max_num_tokens = 128;
  build.max_seq_len = 512;
  return spate_build(&build, error);
}

static inline spate_engine *engine_start(const char *path, const char *backend, int block_size, int threads) {
  spate_open_options open;
  spate_error error = {0};
  spate_open_options_init(&open);
  open.model = path;
  open.backend = backend;
  open.block_size = block_size;
  open.threads = threads;
  open.kv_cache_dtype = "fp32";
  open.kv_cache_memory = 64 << 20;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s: %s", backend, error.text);
  return engine;
}

#endif
