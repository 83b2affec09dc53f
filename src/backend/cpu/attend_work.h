/* The seam between the attention op (which queries, which blocks, on which thread) and its kernels. */
#ifndef SPATE_BACKEND_ATTEND_WORK_H
#define SPATE_BACKEND_ATTEND_WORK_H

#include "backend/cpu/kv_cache.h"

enum { SHARED_ALL = INT32_MAX };

/* A row-major matrix of floats. */
struct grid {
  float *data;
  size_t stride;
};

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
  const float *slope;          /* [n_head] what a score loses for each token from the last that is seen; NULL: none */
  const float *distance;       /* what a score of the first head gains by key − query, from this number on for a key
                                  where the query is; NULL: nothing. The tokens are of one row */
  size_t distances;            /* numbers of a head */
  int32_t place;               /* of the first token in its row */
  float softcap;               /* 0: none */
  float *const *out;           /* [n_token] head h at out[t] + h × dim_v */
  float *scratch;              /* attend_scratch_floats, aligned to 64 bytes */
};

/* The keys and values of n ≤ ATTEND_LANES tokens of one row, on their way to a cache of floats: dimensions in whole
 * ATTEND_LANES, the first token at a multiple of as many. */
struct attend_rows {
  const float *key, *value; /* of the first token; the next one's are `stride` floats on */
  size_t stride;
  int n, dim_k, dim_v;
  float *to_key, *to_value; /* of dimension d at to_key + d × tile, ATTEND_LANES of them; of token i at i × stored_v */
  size_t tile, stored_v;
};

struct attend_kernels {
  void (*attend)(const struct attend_work *work);
  void (*store)(const struct attend_rows *rows);
  /* Floats to the type of less than 32 bits that the cache keeps, enum kv_dtype. Returns the scale of codes. */
  float (*narrow)(const float *from, int n, uint8_t dtype, void *to);
  bool quads; /* keys and values of eight bits are to lie in quads */
  bool pairs; /* bf16 keys and values are multiplied as they lie: the faster 16-bit type here */
};

enum {
  ATTEND_LANES = 16, /* of the widest kernel */
  ATTEND_ROWS = 16,  /* queries that a matrix unit takes at once: it may write that many beyond the last */
};

static inline size_t attend_lanes(size_t n) { return (n + ATTEND_LANES - 1) / ATTEND_LANES * ATTEND_LANES; }

/* Room for the scores, sums, results of n_query queries, one tile of keys and values, and, for a matrix unit, queries
 * and weights once more in two parts of 16 bits. */
static inline size_t attend_scratch_floats(size_t n_query, size_t dim_k, size_t dim_v) {
  size_t pad = ATTEND_LANES, rows = n_query + ATTEND_ROWS, cols = (dim_v + pad - 1) / pad * pad;
  size_t depth = (dim_k + KV_PAIRED_DIMS - 1) / KV_PAIRED_DIMS * KV_PAIRED_DIMS;
  size_t values = (dim_v + KV_TURNED_COLS - 1) / KV_TURNED_COLS * KV_TURNED_COLS;
  size_t per_query = KEY_TILE + ATTEND_LANES + cols + 2 + depth + KEY_TILE;
  size_t offsets = 2 * cols * sizeof(ptrdiff_t) / sizeof(float);
  return rows * per_query + (KEY_TILE * (depth + values) + ATTEND_ROWS * cols) + offsets + 13 * pad;
}

#endif
