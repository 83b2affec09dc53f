/* What a linear's kernel wants to know of its rows' adapters (plan/adapter.h has the arithmetic). */
#ifndef SPATE_BACKEND_CUDA_ADAPTER_ROWS_H
#define SPATE_BACKEND_CUDA_ADAPTER_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum {
  USES = 4,        /* ROW_LORAS */
  RANK_STRIP = 16, /* ranks are filled up to multiples of these with zeros */
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

/* Where a kernel makes results of its products: what adapters change of them. */
struct cuda_adapter_rows {
  struct cuda_adapter_factors factors;
  const struct cuda_adapter_use *use; /* [n_row][USES]; NULL: nothing is changed */
  const float *h;                     /* [n_row][USES][part × rank]: what the shrink has left */
};

/* From so many tokens further on. */
static inline void rows_skip(struct cuda_adapter_rows *rows, int tokens) {
  size_t uses = (size_t)tokens * USES;
  if (!rows->use) return;
  rows->use += uses;
  rows->h += uses * (size_t)rows->factors.n_part * (size_t)rows->factors.rank;
}

#endif
