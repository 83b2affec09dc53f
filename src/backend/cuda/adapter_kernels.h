/* What the host side and the kernels of adapters share (plan/adapter.h has the arithmetic). In a step in which some row
 * has adapters a linear of bf16 weights and few tokens does their parts itself (adapter_few.cuh); any other is three
 * launches: the shrink of its input, the linear's products alone, and the expansion, which makes results of them. */
#ifndef SPATE_BACKEND_CUDA_ADAPTER_KERNELS_H
#define SPATE_BACKEND_CUDA_ADAPTER_KERNELS_H

#include "backend/cuda/cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  USES = 4,             /* ROW_LORAS */
  CHUNK_USES = 8,       /* uses of one adapter that are shrunk together: the matrix units' B operand */
  RANK_STRIP = 16,      /* ranks are filled up to multiples of these with zeros */
  SPLIT_COLS = 1024,    /* columns whose products are summed for themselves; the sums are added in order */
  SHRINK_APART = 64,    /* most tokens whose splits are shrunk by blocks of their own */
  EXPAND_TOKENS = 4,    /* that a block expands */
  ADAPTED_SLICE = 1024, /* tokens whose products are in memory at once */
  /* Of a step of few tokens whose adapters' parts are the linears' own (adapter_few.cuh), at most: */
  ADAPTER_PAIRS = 64,  /* of an adapter's 16 ranks and a tile of 8 tokens */
  ADAPTER_UNITS = 128, /* of those and a part of a matrix */
};

/* Of a slot's adapter and an op. */
struct cuda_adapter_site {
  int32_t rank;                             /* of each part */
  uint8_t used, shift, magnitude, reserved; /* used: it changes the op at all */
};

/* One adapter of a token or an output. Those in use come first. */
struct cuda_adapter_use {
  int32_t slot; /* −1: none */
  float scale;
};

/* Uses of one slot. */
struct cuda_adapter_chunk {
  int32_t slot, first, count; /* in place */
};

/* 16 ranks of an adapter and a tile of 8 tokens, some of which name it: their scales, 0 of the others. */
struct cuda_adapter_pair {
  int32_t slot, tile, strip; /* strip: of ranks */
  float scale[8];
};

/* Of a step's tokens, or of its outputs; on the device. */
struct cuda_adapter_lists {
  const struct cuda_adapter_use *use; /* [n][USES] */
  const int32_t *n_chunk;
  const struct cuda_adapter_chunk *chunk; /* [n_chunk] */
  const int32_t *place;                   /* of uses, by slots: token × USES + i */
  const uint32_t *adapted;                /* a bit of each of few tokens: it has adapters */
  const int32_t *n_pair;
  const struct cuda_adapter_pair *pair; /* [n_pair] of few tokens; none: there are none, or not all of them fit */
};

/* An op's factors in all slots. Of a linear a is strips of 16 ranks, part after part, in pieces of 64 columns in
 * the order in which the matrix units' A operand wants them (adapter_index), or floats [part][rank][columns, filled up
 * to 64]; of an embedding [row][rank]. b: [row][rank]. Ranks are those of the slot's adapter, filled up to 16. */
struct cuda_adapter_factors {
  const uint8_t *a, *b, *vectors;       /* of the first slot; vectors: [VECTORS][rows] floats */
  size_t slot_bytes;                    /* to the next one */
  const struct cuda_adapter_site *site; /* [slot × n_op] */
  int32_t n_op, n_part, rows, cols;     /* of an embedding rows are the table's columns */
  int32_t rank;                         /* the most, filled up */
  int32_t part_end[3];         /* the row after the part's last, of all parts but the last; interleaved: none */
  uint8_t interleaved, floats; /* floats: not bf16 */
  float most;
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

/* What a linear's input makes with a: sums of splits of columns, without the norm's scale, and of the input's squares.
 */
struct cuda_adapter_sums {
  float *h;        /* [split][use][part × rank] */
  float *squares;  /* [split][use] */
  int32_t n_split; /* 1: they are added already */
};

struct cuda_shrink {
  struct cuda_adapter_factors factors;
  struct cuda_adapter_lists lists;
  struct cuda_adapter_sums sums;
  const float *in, *norm; /* [n][in_cols]; NULL: none */
  int32_t n, in_cols;
};

struct cuda_expand {
  struct cuda_adapter_factors factors;
  const struct cuda_adapter_use *use;
  struct cuda_adapter_sums sums; /* of the first of n tokens on; n_all are between splits */
  int32_t n, n_all;
  struct cuda_linear linear; /* its product, [n][product_cols], becomes its result */
  int32_t product_cols;
};

/* Of a chain's linears. */
struct cuda_adapted {
  const struct cuda_adapter_factors *factors; /* of each linear; host */
  struct cuda_adapter_lists lists;
  void *partial; /* [LINEAR_CHAIN][part_bytes] sums of panels, all ones between launches */
  size_t part_bytes;
};

/* As cuda_linear_few, with what pairs change: of adapters without magnitudes and shifts, over matrices whose parts are
 * whole strips. */
void cuda_adapter_few(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
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
