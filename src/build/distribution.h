/* What a row of logits says of the next token, for evaluations: log-probabilities and divergences, in nats. Weights are
 * within 3e-7 of their values (backend/row_passes.h), sums of many are in double. One thread. */
#ifndef SPATE_BUILD_DISTRIBUTION_H
#define SPATE_BUILD_DISTRIBUTION_H

#include "backend/row_passes.h"
#include "base/error.h"

struct distribution {
  const struct row_passes *passes;
  struct logit_row row;
  float *weight;    /* [whole groups] e^(x − max), then zeros */
  float *chunk_sum; /* [row_chunks] */
  double sum;       /* of the weights */
  double log_total; /* log Σ eˣ */
};

bool distribution_init(struct distribution *d, int vocab, struct error *error);
void distribution_release(struct distribution *d);

/* Takes a row, which must stay in place as long as the distribution is asked. False: an entry is NaN or infinite. */
bool distribution_set(struct distribution *d, const float *logits);

/* The first of the likeliest tokens. */
int distribution_top(const struct distribution *d);

static inline double distribution_logprob(const struct distribution *d, int token) {
  return (double)d->row.x[token] - d->log_total;
}

/* KL(from ‖ to) = Σ p (log p − log q), p of `from`: what is lost by taking `to` for it. Both have one vocabulary. */
double distribution_divergence(const struct distribution *from, const struct distribution *to);

#endif
