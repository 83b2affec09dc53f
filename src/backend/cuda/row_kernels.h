/* What networks beyond Llama's ask of rows, on any GPU: embeddings by place, outputs of whole rows, norms of heads by
 * weights of their own, and the ends of linears with any activation and any norm. Plain kernels, around those that
 * multiply. */
#ifndef SPATE_BACKEND_CUDA_ROW_KERNELS_H
#define SPATE_BACKEND_CUDA_ROW_KERNELS_H

#include "backend/cuda/image_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CURVE_TANH = 5, CURVE_RELU }; /* the last of enum act_kind */

/* out[i] = norm(in[i] + scale × row of the table), by the token's id or by its place: place[i][axis], or, where there
 * are no places, its index in the sequence (of axis 1: 0); `skip` rows further on. */
struct cuda_embed_rows {
  struct cuda_matrix table;
  struct cuda_norm norm;
  const float *in;      /* NULL: none */
  const int32_t *place; /* [n_token][3] or NULL */
  float *out;           /* [n_token][table.cols] */
  float scale;
  int32_t axis, skip;
  bool by_token;
};
void cuda_embed_rows(const struct cuda_embed_rows *embed, const struct cuda_batch *batch, cuda_stream stream);

/* out[i] = norm(x) of the first token of the row that token batch.out[i] is in, or the mean of all of its tokens. */
struct cuda_pool_select {
  const float *in;
  float *out;
  struct cuda_norm norm;
  int32_t cols;
  bool mean;
};
void cuda_pool_select(const struct cuda_pool_select *select, const struct cuda_batch *batch, cuda_stream stream);

/* Plain attention, with what it alone has: beside the arguments of all, whose kernels lose registers with their size.
 */
struct cuda_attend_beside {
  int32_t near; /* a token sees so many before it and behind it; 0: all */
  bool causal;  /* none behind itself, whatever the batch says */
  bool latent;  /* a value is the end of its key, and queries come in two parts (value_in_key of plan/op.h) */
};
void cuda_attend_plain(const struct cuda_attend *attend, const struct cuda_attend_beside *beside,
                       const struct cuda_batch *batch, cuda_stream stream);

/* n floats are within ± most from here on; what is no number stays so. */
void cuda_clamp(float *x, size_t n, float most, cuda_stream stream);

/* Queries and keys of [n][in_cols] floats, each head less its mean and over the deviation, times weights of its own:
 * where they are. Attention then norms nothing. */
void cuda_heads_norm(const struct cuda_attend *attend, float *in, int n, cuda_stream stream);

/* Of a gated linear: the gate counts as at most `limit`, up as within ± it (0: none), and up_add is added to up. */
struct cuda_gate {
  float limit, up_add;
};

/* From products, which have their bias, to results, as cuda_linear_tail: any activation and gate, post norms with a
 * mean, post norms of sums. norm: the post norm. */
void cuda_linear_end(const struct cuda_linear *linear, const struct cuda_norm *norm, bool of_sum, struct cuda_gate gate,
                     cuda_stream stream);

/* bf16 tokens of rows with a layer norm into `fragments`, as cuda_linear_prepare leaves others. */
void cuda_layer_prepare(const struct cuda_linear *linear, const struct cuda_norm *norm, bool tiles, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
