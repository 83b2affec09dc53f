/* What the host side and the kernels of adapters share (plan/adapter.h has the arithmetic). In a step in which some row
 * has adapters a linear of few tokens does their parts itself (adapter_few.cuh). Any other has its input shrunk before;
 * that of coded_wide.cuh then ends with the expansion (adapter_end.cuh), others leave products to one of its own. */
#ifndef SPATE_BACKEND_CUDA_ADAPTER_KERNELS_H
#define SPATE_BACKEND_CUDA_ADAPTER_KERNELS_H

#include "backend/cuda/cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  CHUNK_USES = 8,       /* uses of one adapter that are shrunk together: the matrix units' B operand */
  SPLIT_COLS = 1024,    /* columns whose products are summed for themselves; the sums are added in order */
  SHRINK_APART = 64,    /* most tokens whose splits are shrunk by blocks of their own */
  EXPAND_TOKENS = 4,    /* that a block expands */
  ADAPTED_SLICE = 1024, /* tokens whose products are in memory at once */
  /* Of a step of few tokens whose adapters' parts are the linears' own (adapter_few.cuh), at most: */
  ADAPTER_PAIRS = 64,  /* of an adapter's 16 ranks and a tile of 8 tokens: what next[] can name */
  ADAPTER_UNITS = 128, /* of those and a part of a matrix */
};

/* Uses of one slot. */
struct cuda_adapter_chunk {
  int32_t slot, first, count; /* in place */
};

/* 16 ranks of an adapter and a tile of 8 tokens, some of which name it: their scales, 0 of the others. A token's pairs
 * are linked, those of an adapter one after the other. */
struct cuda_adapter_pair {
  int32_t slot, tile, strip; /* strip: of ranks */
  float scale[8];
  int8_t next[8]; /* the token's next one; −1: none */
};

/* Of a step's tokens, or of its outputs; on the device. */
struct cuda_adapter_lists {
  const struct cuda_adapter_use *use; /* [n][USES] */
  const int32_t *n_chunk;
  const struct cuda_adapter_chunk *chunk; /* [n_chunk] */
  const int32_t *place;                   /* of uses, by slots: token × USES + i */
  const int8_t *first;                    /* [LINEAR_FEW] of few tokens, the first pair of each; −1: none */
  const int32_t *n_pair;
  const struct cuda_adapter_pair *pair; /* [n_pair] of few tokens; none: there are none, or not all of them fit */
};

/* Where the number of a rank and column is in its piece, of 16-bit numbers. A lane has of each 16 columns those at
 * lane % 4 × 2, + 1, + 8 and + 9 of ranks lane / 4 and + 8 (PTX ISA, "Matrix fragments for mma.m16n8k16"). */
enum { ADAPTER_PIECE = 16 * 64 };
#ifdef __CUDACC__
__host__ __device__
#endif
    static inline int
    adapter_index(int rank, int col) {
  return ((col / 16 * 32 + rank % 8 * 4 + col % 8 / 2) * 4 + rank / 8 + col % 16 / 8 * 2) * 2 + col % 2;
}

enum { VECTOR_SHIFT, VECTOR_MAGNITUDE, VECTOR_W2, VECTOR_WD, VECTOR_D2, VECTORS };

/* What a linear's input, normed, makes with a. Of few tokens blocks take splits of the columns, and the last one of
 * those of a strip of ranks, or of a use, adds them up in order. */
struct cuda_adapter_sums {
  float *h;          /* [split][use][part × rank]; in the end of the first */
  float *squares;    /* [split][use] of the input */
  uint32_t *arrived; /* [SHRINK_COUNTS(ranks)] 0 between launches */
  int32_t n_split;   /* 1: blocks take all columns */
};
/* Of the parts' ranks, filled up, together. */
#define SHRINK_COUNTS(ranks) ((size_t)SHRINK_APART * USES * ((size_t)(ranks) / RANK_STRIP))

struct cuda_shrink {
  struct cuda_adapter_factors factors;
  struct cuda_adapter_lists lists;
  struct cuda_adapter_sums sums;
  const float *in, *norm; /* [n][in_cols]; NULL: none */
  int32_t n, in_cols;
  float eps;
};

/* Of tokens whose adapters are the linear's `rows`: its product, [n][product_cols], becomes its result. */
struct cuda_expand {
  struct cuda_linear linear;
  int32_t n, product_cols;
};

/* Of a chain's linears. */
struct cuda_adapted {
  const struct cuda_adapter_factors *factors; /* of each linear; host */
  struct cuda_adapter_lists lists;
  void *partial; /* [LINEAR_CHAIN][part_bytes] sums of panels, all ones between launches */
  size_t part_bytes;
};

/* As cuda_linear_few, cuda_coded_few or cuda_bytes_few, with what pairs change. */
void cuda_adapter_few(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
                      const struct cuda_between *between, int multiprocessors, cuda_stream stream);
void cuda_adapter_coded(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
                        const struct cuda_between *between, int multiprocessors, cuda_stream stream);
/* Units of a set of words (struct cuda_between) that it wants beside those of chains. */
enum { ADAPTER_BETWEEN = LINEAR_CHAIN * ADAPTER_UNITS * 32 };

/* early: the device has dependent launches. */
void cuda_adapter_shrink(const struct cuda_shrink *shrink, bool units, bool early, cuda_stream stream);
void cuda_adapter_expand(const struct cuda_expand *expand, bool early, cuda_stream stream);
/* As cuda_embed. */
void cuda_adapter_embed(const struct cuda_matrix *table, const struct cuda_adapter_factors *factors,
                        const struct cuda_adapter_use *use, const struct cuda_batch *batch, float scale, float *out,
                        int out_cols, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
