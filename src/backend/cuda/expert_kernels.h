/* Mixtures of experts on a GPU: routes, the lists that they become, and linears over stacked matrices. A pair is a
 * token and one of its choices: pair token × k + j. Nothing comes back to the host: grids are for the most that there
 * may be, and blocks without work leave. */
#ifndef SPATE_BACKEND_CUDA_EXPERT_KERNELS_H
#define SPATE_BACKEND_CUDA_EXPERT_KERNELS_H

#include "backend/cuda/row_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* enum route_score; cuda_experts.c holds them against the plan's. */
enum { SCORE_SOFTMAX, SCORE_SIGMOID, SCORE_CHOSEN, SCORE_NEAR };

enum {
  ROUTE_GROUPS = 64,         /* of experts, at most */
  EXPERTS_FEW = 32,          /* tokens whose experts' weights stream, */
  EXPERTS_FEW_PAIRS = 512,   /* and so many pairs at most */
  EXPERT_LISTS = 4096,       /* experts that lists are made of, at most (LIMIT_MODEL_EXPERTS) */
  EXPERT_TILE = 64,          /* pairs of an expert that are multiplied at once, or, where experts have */
  EXPERT_LARGE = 96,         /* so many in the mean, twice as many */
  EXPERT_ROWS = 128,         /* of a tile on Hopper (experts_many.cu) */
  EXPERT_SLICE = 2048,       /* tokens that lists are made of, */
  EXPERT_LONG = 8192,        /* on Hopper, where products are bf16, */
  EXPERT_PLAIN = 256,        /* and of plain kernels */
  EXPERT_EXPAND = 64,        /* more pairs of an expert in the mean have weights of 4 and 8 bits expanded to bf16, */
  EXPERT_EXPANDED = 1 << 30, /* of so many bytes at most */
};

struct cuda_route {
  const float *logits, *bias; /* [n_token][n_expert]; [n_expert] or NULL */
  float *choice;              /* [n_token][2k]: ids, weights */
  int32_t n_token, n_expert, k, n_group, top_group;
  uint8_t score, normalize, group_pair;
  float scale, near;
};
void cuda_route(const struct cuda_route *route, cuda_stream stream);

/* A choice turned round: of each expert its pairs. Those of rows without tokens (cuda_row) are left out. */
struct cuda_expert_lists {
  int32_t *first;  /* [n_expert + 1] where an expert's pairs begin in `pair` */
  int32_t *pair;   /* [n_pair] by experts */
  int32_t *place;  /* [n_pair] where a pair is in `pair`; −1: nowhere */
  int32_t *active; /* [n_expert] those that have pairs, ascending */
  int32_t *tile;   /* [tiles][3]: an expert, the first of some pairs of it in `pair`, and how many, up to tile_pairs */
  int32_t *count;  /* [n_expert] pairs, while lists of many are made */
  int32_t *counts; /* [2]: active experts; tiles */
  int32_t n_pair, n_expert, tile_pairs;
};
void cuda_expert_lists(const struct cuda_expert_lists *lists, const float *choice, int k,
                       const struct cuda_batch *batch, cuda_stream stream);
/* Tiles that there may be. */
static inline int32_t cuda_expert_tiles(int32_t n_pair, int32_t n_expert, int32_t tile_pairs) {
  int32_t most = n_pair / tile_pairs + n_expert;
  return most < n_pair ? most : n_pair;
}

/* Experts of a list (its `active` and `counts` alone) from pinned memory of the host to the device, where each has the
 * same place; expert_bytes is a multiple of 16. experts_fetch.cu */
void cuda_experts_fetch(const struct cuda_expert_lists *lists, const uint8_t *host, uint8_t *to, uint64_t expert_bytes,
                        cuda_stream stream);

/* A linear over experts. `linear` has as `in` a row for each pair, of a spread for each token. out and residual have
 * out_cols and residual_cols for each token, where pairs' results are side by side, or a gather's one. */
struct cuda_experts {
  struct cuda_linear linear; /* matrix: of the first expert; result_cols: of a pair */
  struct cuda_gate gate;
  uint64_t expert_bytes;          /* from one to the next */
  struct cuda_expert_lists lists; /* first NULL: each expert has each token, pair token × n_expert + expert */
  const float *choice;            /* of a gather: [n_token][2k] */
  const uint16_t *tokens;         /* [rows of in][padded] bf16, of products on matrix units */
  const float *token_scales;      /* [rows of in] of tokens that are codes of 8 bits in bf16; or NULL */
  uint16_t *next_tokens;          /* the same of results, in place of out; or NULL */
  int32_t n_token, k, padded, next_padded;
  bool spread, gather;
};
/* bf16 rows, normed (NULL: not), of n rows of so many columns; those beyond are 0. scales: of rows that are rounded to
 * codes of 8 bits (ROUND_INT8_TOKEN, ROUND_E4M3_TOKEN), which bf16 has exactly; or NULL. */
void cuda_experts_prepare(const float *in, int n, int in_cols, int cols, int padded, const struct cuda_norm *norm,
                          uint16_t *out, float *scales, int rounding, cuda_stream stream);
/* Any scheme, element by element: to products, with their biases, of rows in linear.prepared. */
void cuda_experts_plain(const struct cuda_experts *experts, cuda_stream stream);
/* Products to results: pair by pair, or a gather's. */
void cuda_experts_end(const struct cuda_experts *experts, cuda_stream stream);
void cuda_experts_sum(const struct cuda_experts *experts, cuda_stream stream);
/* bf16 weights on matrix units. few: of EXPERTS_FEW tokens at most; a gather's results are whole then, otherwise
 * products, which cuda_experts_sum adds up. */
void cuda_experts_few(const struct cuda_experts *experts, cuda_stream stream);
void cuda_experts_many(const struct cuda_experts *experts, cuda_stream stream);
/* The same of weights of 4 and 8 bits, on Hopper; of a gather products. */
void cuda_experts_coded_few(const struct cuda_experts *experts, int multiprocessors, cuda_stream stream);
void cuda_experts_coded_many(const struct cuda_experts *experts, cuda_stream stream);
/* The same on Hopper, over lists of tiles of EXPERT_ROWS pairs; a gather's results are whole. experts_many.cu */
void cuda_experts_tiles(const struct cuda_experts *experts, cuda_stream stream);
/* Rows in as the plain linear takes them: normed and rounded, in linear.prepared. linear_plain.cu */
void cuda_linear_round(const struct cuda_linear *linear, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
