/* What encoders of images ask for beyond a decoder's kernels (cuda_kernels.h): layer norms, other activations, rows
 * that are joined, and linears and attention of many tokens that leave each other 16 bits. */
#ifndef SPATE_BACKEND_CUDA_IMAGE_KERNELS_H
#define SPATE_BACKEND_CUDA_IMAGE_KERNELS_H

#include "backend/cuda/cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* enum norm_kind and the other half of enum act_kind; cuda_image.c holds them against the plan's. */
enum { NORMED_NOT, NORMED_RMS, NORMED_LAYER };
enum { CURVE_GELU_ERF = 3, CURVE_GELU_QUICK };

/* Tokens of a block of an encoder's own cache of one layer: each row of the batch begins one. */
enum { IMAGE_BLOCK = ATTEND_TILE };

/* A norm by itself; weight: [cols] factors and, of NORMED_LAYER, as many addends. */
struct cuda_norm {
  const float *weight;
  float eps;
  uint8_t kind;
};

/* out[i] = norm(in[i] + scale × row), of the table's row[i] with `first` added where that is 0, or of rows[i]. */
struct cuda_image_embed {
  const struct cuda_matrix *table; /* NULL: rows */
  const float *rows, *first, *in;  /* first, in: NULL: none */
  const int32_t *index;            /* [n] of the table */
  float *out;
  int32_t n, cols;
  float scale;
  struct cuda_norm norm;
};
void cuda_image_embed(const struct cuda_image_embed *embed, cuda_stream stream);

/* out[i][k] = norm(in[token[i] + k]) for k < merged, or out[i] = the mean of so many. */
struct cuda_image_select {
  const float *in;
  const int32_t *token; /* [n] */
  float *out;
  int32_t n, cols, merged;
  bool mean;
  struct cuda_norm norm;
};
void cuda_image_select(const struct cuda_image_select *select, cuda_stream stream);

/* Rows of so many floats, normed; out has cols. */
void cuda_image_norm(const float *in, int n, int in_cols, int cols, const struct cuda_norm *norm, float *out,
                     cuda_stream stream);
/* x = act(x) × factor, in place. */
void cuda_image_act(float *x, int n, int stride, int cols, int act, float factor, cuda_stream stream);
/* out[i] = pool[embed[i]] where that is not −1. */
void cuda_pool_embed(const float *pool, const int32_t *embed, int n, int cols, float *out, cuda_stream stream);

/* --- on Hopper's matrix units --------------------------------------------------------------------------------------
 */

/* Where a linear's results go: to floats, to tiles as the next linear wants its tokens, or to queries, keys and values.
 */
enum image_place { IMAGE_FLOATS, IMAGE_TILES, IMAGE_HEADS };

struct cuda_image_ends {
  const float *bias; /* NULL: none */
  uint8_t place, act;
  void *tiles;
  /* of IMAGE_HEADS: n_head heads of q, of k and of v, `dim` wide each and stored `room` wide, in fp16 */
  uint16_t *query;        /* [block][head] in panels of IMAGE_BLOCK tokens (attend.cuh), times scale */
  uint8_t *cache;         /* [block][head][K, V], the same */
  const uint32_t *cached; /* [n_token] where in the cache, in tokens */
  int32_t n_head, dim, room;
  float scale;
};

/* bf16 tokens of rows, normed, as tiles of 64 tokens × 64 columns. */
void cuda_image_prepare(const float *in, int n, int in_cols, int cols, const struct cuda_norm *norm, void *tiles,
                        cuda_stream stream);
/* Of tokens in `fragments`; linear: without norm, bias and activation, of multiples of 8 rows. */
void cuda_image_linear(const struct cuda_linear *linear, const struct cuda_image_ends *ends, cuda_stream stream);
/* Queries, keys and values of [token][in_cols] floats to where a linear of IMAGE_HEADS would leave them, normed and
 * rotated. */
void cuda_image_heads(const struct cuda_attend *attend, const struct cuda_image_ends *ends,
                      const struct cuda_batch *batch, cuda_stream stream);
/* Each token sees its whole row, or its span. dim_k: the room of a head, 64, 80, 96 or 128; dim_v: how wide it is.
 * Results go to next_fragments, as tiles. */
void cuda_image_attend(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
