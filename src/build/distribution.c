/* Distributions of the next token. */
#include "build/distribution.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8 };
static const float log2_e = 1.44269504f;

bool distribution_init(struct distribution *d, int vocab, struct error *error) {
  size_t groups = (size_t)row_groups(vocab);
  *d = (struct distribution){.passes = row_passes_choose(), .row.n = vocab};
  d->row.group_max = calloc(groups, sizeof *d->row.group_max);
  d->weight = calloc(groups * ROW_GROUP, sizeof *d->weight);
  d->chunk_sum = calloc((size_t)row_chunks(vocab), sizeof *d->chunk_sum);
  if (d->row.group_max && d->weight && d->chunk_sum) return true;
  distribution_release(d);
  return error_set(error, ERROR_MEMORY, "Out of memory for a row of %d logits.", vocab);
}

void distribution_release(struct distribution *d) {
  free(d->row.group_max);
  free(d->weight);
  free(d->chunk_sum);
  *d = (struct distribution){0};
}

bool distribution_set(struct distribution *d, const float *logits) {
  d->row.x = logits;
  if (!d->passes->max(&d->row) || !(d->row.max > -INFINITY)) return false;
  d->sum = d->passes->weigh(&d->row, log2_e, d->weight, d->chunk_sum);
  d->log_total = (double)d->row.max + log(d->sum);
  return true;
}

int distribution_top(const struct distribution *d) {
  int group = 0;
  while (d->row.group_max[group] < d->row.max) group++;
  for (int i = group * ROW_GROUP;; i++)
    if (d->row.x[i] >= d->row.max) return i;
}

/* Tokens that have no weight add nothing, whatever the other row holds there. */
double distribution_divergence(const struct distribution *from, const struct distribution *to) {
  const float *p = from->row.x, *q = to->row.x, *weight = from->weight;
  double lane[LANES] = {0};
  int i = 0;
  for (; i + LANES <= from->row.n; i += LANES)
    for (int l = 0; l < LANES; l++)
      lane[l] += weight[i + l] > 0 ? (double)weight[i + l] * ((double)p[i + l] - (double)q[i + l]) : 0;
  for (; i < from->row.n; i++) lane[0] += weight[i] > 0 ? (double)weight[i] * ((double)p[i] - (double)q[i]) : 0;
  double sum = 0;
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum / from->sum - (from->log_total - to->log_total);
}
