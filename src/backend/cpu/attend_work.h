/* The seam between the attention op (which queries, which blocks, on which thread) and its kernels. */
#ifndef SPATE_BACKEND_ATTEND_WORK_H
#define SPATE_BACKEND_ATTEND_WORK_H

#include "backend/cpu/kv_cache.h"

enum { SHARED_ALL = INT32_MAX };

/* Some neighbouring tokens of one row, or tokens of rows that begin alike, against one KV head, for n_head of the query
 * heads that share it. A query's result depends on the query alone, never on what else is in its work. */
struct attend_work {
  struct kv_head kv;            /* of the first token; of all for positions below `shared` */
  int32_t shared;               /* whole tiles; SHARED_ALL: the tokens are of one row */
  const uint32_t *const *block; /* [n_token] the block table from `shared` on; not read if that is SHARED_ALL */
  int n_token, n_head;
  const float *query;          /* [n_token][n_head][dim_k], normed, rotated and scaled */
  const int32_t *first, *last; /* [n_token] the tokens of the row that each sees, both included */
  const float *sink;           /* [n_head] a logit that takes part in the softmax without a value; NULL: none */
  float softcap;               /* 0: none */
  float *const *out;           /* [n_token] head h at out[t] + h × dim_v */
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
  size_t offsets = 2 * cols * sizeof(ptrdiff_t) / sizeof(float);
  return n_query * per_query + KEY_TILE * (dim_k + cols) + offsets + 9 * pad;
}

#endif
