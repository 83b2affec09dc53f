/* Passes over a row of logits or weights: the part of sampling that is proportional to the vocabulary. Made from one
 * template (row_passes_template.h) for the baseline instruction set, AVX2 and AVX-512; all give the same bits. */
#ifndef SPATE_BACKEND_ROW_PASSES_H
#define SPATE_BACKEND_ROW_PASSES_H

#include <stdbool.h>
#include <stdint.h>

enum { ROW_GROUP = 64, ROW_CHUNK = 16 * ROW_GROUP };

struct logit_row {
  const float *x; /* [n] */
  int n;
  float max;        /* what follows is filled by the pass `max` */
  float *group_max; /* [row_groups(n)] of each ROW_GROUP entries: later passes leave out groups that are too small */
};

struct row_passes {
  /* Fills the maxima; false when an entry is NaN or +∞. */
  bool (*max)(struct logit_row *row);
  /* weight[i] = 2^((x[i] − max) × scale), 0 up to the end of the last group, and the sum of each ROW_CHUNK; returns
   * the sum of all. */
  double (*weigh)(const struct logit_row *row, float scale, float *weight, float *sum);
  /* The sum of weights that are at least `floor`, in groups whose maximum is at least `x_floor`. */
  double (*mass)(const struct logit_row *row, const float *weight, float x_floor, float floor);
  /* out[i] = x[i] where bit i of the mask is set, −∞ elsewhere. */
  void (*mask)(const float *x, int n, const uint32_t *mask, float *out);
};

/* 2ˣ for x ≤ 0, as `weigh` computes it. */
float row_exp2(float x);

/* The best for this machine. */
const struct row_passes *row_passes_choose(void);

static inline int row_chunks(int n) { return (n + ROW_CHUNK - 1) / ROW_CHUNK; }
static inline int row_groups(int n) { return (n + ROW_GROUP - 1) / ROW_GROUP; }

/* Entries before the end of group g. */
static inline int group_end(int n, int g) { return (g + 1) * ROW_GROUP < n ? (g + 1) * ROW_GROUP : n; }

#endif
