/* What a build has folded into the matrices of an engine, so that the network stays what its checkpoint says: factors
 * on columns whose inverses went into the norm or the rows before them, and columns that were put into another order
 * with the rows that make them. Whoever brings numbers that belong to the checkpoint's matrices (adapters) needs them.
 * Of a matrix W of the checkpoint an engine has, with c columns' and r rows' factors, π and ρ their orders:
 *
 *   W'[i][j] = r[i] · c[j] · W[ρ(i)][π(j)]     so that its input is x'[j] = x[π(j)] ÷ c[j], and y'[i] = r[i] · y[ρ(i)]
 *
 * The section of the engine file is a struct engine_fold for each weight of the plan and the arrays behind them, or
 * nothing where nothing was folded. Experts share what is folded into their weight; where each has its channels in an
 * order of its own, these are not kept, and the entry says so. */
#ifndef SPATE_ENGINE_ENGINE_FOLDS_H
#define SPATE_ENGINE_ENGINE_FOLDS_H

#include "base/buffer.h"
#include "base/error.h"
#include "plan/plan.h"

/* Places of a weight's arrays in bytes from the section's start, multiples of 4; 0: there is none. Their lengths are
 * the weight's. */
struct engine_fold {
  uint32_t column, column_order;
  uint32_t row[PLAN_PARTS], row_order;
  uint32_t apart; /* of experts, 1: orders of their own, which are not here */
};

/* The arrays of a matrix; NULL: factors are 1, the order is the checkpoint's. */
struct weight_fold {
  const float *column;          /* [cols] c */
  const int32_t *column_order;  /* [cols] π */
  const float *row[PLAN_PARTS]; /* [rows of the part] r */
  const int32_t *row_order;     /* [rows of each part] ρ, within the part */
  bool apart;                   /* experts have orders of their own, which are not here */
};

/* Checks a section from a file completely: places, factors that are numbers above 0 and have an inverse, orders that
 * have each place once; folds of matrices alone, and of none that an embedding reads. */
bool engine_folds_check(struct slice section, const struct plan *plan, struct error *error);

/* Of a checked section. */
struct weight_fold engine_folds_get(struct slice section, int weight);

/* The section of the folds [n_weight], in an empty buffer, checked: nothing where there are none. */
bool engine_folds_write(const struct plan *plan, const struct weight_fold *folds, struct buffer *section,
                        struct error *error);

/* The tensor's row that stands where the plan has row `row` of the tensor, and its factor. */
static inline int weight_fold_row(const struct weight_fold *fold, const struct weight *weight, int part, int row) {
  const struct weight_part *of = &weight->part[part];
  return fold->row_order ? part_tensor_row(of, fold->row_order[part_row_of(of, row)]) : row;
}
static inline float weight_fold_factor(const struct weight_fold *fold, const struct weight *weight, int part, int row) {
  return fold->row[part] ? fold->row[part][part_row_of(&weight->part[part], row)] : 1;
}

#endif
