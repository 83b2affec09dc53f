/* The seam between the attention op (which queries, which blocks, on which thread) and its kernels. */
#ifndef SPATE_BACKEND_ATTEND_WORK_H
#define SPATE_BACKEND_ATTEND_WORK_H

#include "backend/cpu/kv_cache.h"

/* Some neighbouring tokens of one row against one KV head, for n_head of the query heads that share it. A query's
 * result depends on the query alone, never on what else is in its work. */
struct attend_work {
  struct kv_head kv;
  int n_token, n_head;
  const float *query;          /* [n_token][n_head][dim_k], normed, rotated and scaled */
  const int32_t *first, *last; /* [n_token] the tokens of the row that each sees, both included */
  const float *sink;           /* [n_head] a logit that takes part in the softmax without a value; NULL: none */
  float softcap;               /* 0: none */
  float *out;                  /* token t, head h at out + t × out_stride + h × dim_v */
  size_t out_stride;           /* floats */
  float *scratch;              /* attend_scratch_floats, aligned to 64 bytes */
};

struct attend_kernels {
  void (*attend)(const struct attend_work *work);
  /* Floats to half floats, as the cache keeps them. */
  void (*narrow)(const float *from, int n, uint16_t *to);
};

enum { ATTEND_LANES = 16 }; /* of the widest kernel */

/* Room for the scores, sums, results of n_query queries and one tile of keys and values. */
static inline size_t attend_scratch_floats(size_t n_query, size_t dim_k, size_t dim_v) {
  size_t pad = ATTEND_LANES, cols = (dim_v + pad - 1) / pad * pad, per_query = KEY_TILE + ATTEND_LANES + cols + 2;
  size_t offsets = cols * sizeof(ptrdiff_t) / sizeof(float);
  return n_query * per_query + KEY_TILE * (dim_k + cols) + offsets + 9 * pad;
}

#endif
