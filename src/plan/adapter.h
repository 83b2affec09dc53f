/* An adapter (a LoRA) as backends take it: for ops of one plan, what is added to their result for the rows that name
 * it. With x what the op multiplies its matrix W with (after its norm), s the row's scale and p(i) the part of W that
 * its row i is of (weight_row_source):
 *
 *   shrink   h[p][k] = gain[p] · Σ_j a[p][k][j] · x[j]
 *   expand   y[i] = g(s)[i] · ((W · x)[i] + s · Σ_k b[i][k] · h[p(i)][k]) + bias[i] + s · shift[i]
 *
 * where gain is α ÷ r, or α ÷ √r, of the part's module (with a power of two that its numbers lack, see below), and g is
 * 1, or with a magnitude m (DoRA, arXiv:2402.09353) m / √(w2 + 2·s·wd + s²·d2): the rows' norms of W + s·B·A. Several
 * adapters of one row add what each of them changes, and one whose s is 0 changes nothing, whatever its magnitudes. An
 * embedding has x = the token's unit vector, so a's columns are tokens, and they lie one after the other: a[token][k].
 * A linear of experts has such factors for each matrix that an adapter changes: x and y are then those of a token's
 * choice, before the tail and the sum of the choices.
 *
 * Factors are kept in 16 bits where that loses nothing, or nothing beside the matrix that they change
 * (engine/adapter_factor.c); their products are formed in floats everywhere.
 *
 * Scales are the clients', and factors anybody's: whatever they are, y of a row with adapters is kept within
 * ±ADAPTER_MOST, or ±ADAPTER_MOST_HALF where a cache of fp16 takes it, and is that where it would be no number. So such
 * a row never makes a step fail, nor leaves in the cache what others would stumble over. */
#ifndef SPATE_PLAN_ADAPTER_H
#define SPATE_PLAN_ADAPTER_H

#include "plan/plan.h"

#define ADAPTER_MOST      1e15f
#define ADAPTER_MOST_HALF 3e4f
#define ADAPTER_LEAST     1e-30 /* the least square of a norm: rounding can leave less, or a negative one */

/* Within ±most; −most what is no number. */
static inline float adapter_bounded(float y, float most) {
  float low = y > -most ? y : -most;
  return low < most ? low : most;
}

/* most of an op. */
float adapter_most(const struct plan *plan, const struct op *op, bool half_cache);

enum factor_type { FACTOR_F32, FACTOR_F16, FACTOR_BF16, FACTOR_TYPES };

/* Finite numbers, where they begin at a multiple of four bytes. */
struct factor {
  const void *numbers;
  uint8_t type; /* enum factor_type */
};

static inline size_t factor_bytes(uint8_t type) { return type == FACTOR_F32 ? 4 : 2; }

/* Numbers [first, first + count) as floats. */
void factor_floats(struct factor factor, size_t first, size_t count, float *out);

struct adapter_op {
  int32_t op;             /* of the plan: a linear, or an embedding */
  int32_t expert;         /* of a linear of experts, the one whose matrix it changes; 0 of others */
  int32_t rank;           /* of each part; parts of lower rank have zeros behind */
  struct factor a;        /* [n_part of the weight][rank][cols]; of an embedding [rows][rank] */
  struct factor b;        /* [rows of the weight, as packed][rank]; of an embedding [cols][rank] */
  float gain[PLAN_PARTS]; /* of each part; of an embedding the first */
  const float *shift;     /* [rows]; NULL: zeros */
  /* [rows], NULL without a magnitude: m; squares of W's rows, their products with B·A's, and squares of these */
  const float *magnitude, *w2, *wd, *d2;
};

struct adapter {
  int32_t rank; /* the greatest of its ops */
  int32_t n_op; /* ascending by op, then by expert */
  const struct adapter_op *op;
  uint64_t bytes; /* of all arrays */
};

/* Matrices of an op that adapters change one by one: of experts as many as there are. */
int adapter_sites(const struct plan *plan, const struct op *op);

/* Can a program have so many slots for adapters of such a rank? */
bool adapter_limits_check(int slots, int rank_most, struct error *error);

/* Can it be put into a program's slot: what adapter_load of every backend refuses. */
bool adapter_check(const struct adapter *adapter, const struct plan *plan, int slot, int slots, int rank_most,
                   struct error *error);

#endif
