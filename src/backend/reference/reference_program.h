/* The reference backend: every op as its definition in plan/op.h reads, in double, one element after the other. It is
 * the oracle of the op tests, and what --no-fuse runs an engine with. A program owns its buffers and KV memory; the
 * packed weights stay the caller's. One thread. */
#ifndef SPATE_BACKEND_REFERENCE_PROGRAM_H
#define SPATE_BACKEND_REFERENCE_PROGRAM_H

#include "base/arena.h"
#include "plan/backend.h"

/* An adapter's slot: a copy of it, each op in its place. */
struct reference_slot {
  struct arena arena;
  struct adapter_op *op; /* [n_op] as the adapter has them; 0: the slot is empty */
  size_t n_op;
};

enum { REFERENCE_PACK_ROWS = 16 };

struct program {
  const struct plan *plan;
  const struct backend *packer; /* whose layout the weights have */
  struct limits limits;
  struct slice *packed;    /* [n_weight] not owned */
  double **value;          /* [n_value], each rows × cols */
  float *kv[PLAN_GROUPS];  /* [block][layer][head][token of the block][dim_k + dim_v]; kept as floats, rounded to its
                              type */
  float *own;              /* [limits.tokens][head][dim_k + dim_v] of the attention without a group that runs */
  float *pool;             /* [limits.pool][plan.hidden] */
  double *input, *product; /* a linear's rows before the product (normed, quantized) and after it */
  double *line;            /* a weight's row, or a head */
  int32_t *chosen;         /* of a linear's results those that have a matrix: [rows of the op × results of a row] */
  float *unpacked;         /* a weight's row out of another backend's layout */
  double *scores;          /* of one query: [limits.length] */
  float *logits;           /* [outputs][vocab] */
  void *sampler;           /* its scratch */
  struct reference_slot *slot; /* [limits.adapters] */
  double *shrunk, *change;     /* of an adapter's op: [n_part][rank], [rows] */
  int32_t *token;              /* [outputs] */
  float *logprob;              /* [outputs] */
  struct token_logprob *top;   /* [outputs][TOP_LOGPROBS] */
  const struct batch *batch;   /* of the step between submit and collect */
};

/* Rows that a value has in this step. */
static inline int value_rows(const struct program *program, int value) {
  bool outputs = plan_values(program->plan)[value].rows == ROWS_OUTPUTS;
  return outputs ? program->batch->n_out : program->batch->n_token;
}

static inline double *value_row(const struct program *program, int value, int row) {
  return program->value[value] + (size_t)row * (size_t)plan_values(program->plan)[value].cols;
}

/* A vector's floats, or NULL for −1. */
static inline const float *vector_get(const struct program *program, int weight) {
  return weight < 0 ? NULL : (const float *)(const void *)program->packed[weight].data;
}

/* reference_codes.c: a strip is the arrays of struct codes for 16 rows, one after the other. */
size_t reference_strip_bytes(const struct weight *weight);
void reference_pack(const struct weight *weight, const struct codes *codes, void *out);
void reference_unpack_row(const struct weight *weight, struct slice packed, int row, float *out);
/* Row `row` of a matrix of the program, counted through its experts, as cols values. */
void reference_weight_row(const struct program *program, int weight, int row, double *out);

/* y = x / rms(x) × weight (1 if NULL). y may be x. */
void reference_rms_norm(const double *x, const float *weight, int cols, double eps, double *y);
/* A norm by its kind; NORM_NONE leaves y as it is. y may be x. */
void reference_norm(uint8_t norm, const double *x, const float *weight, int cols, double eps, double *y);

/* The ops. reference_rows.c, reference_linear.c, reference_attend.c, reference_route.c */
void reference_embed(struct program *program, const struct op *op);
void reference_select(struct program *program, const struct op *op);
void reference_linear(struct program *program, const struct op *op);
void reference_attend(struct program *program, const struct op *op);
void reference_route(struct program *program, const struct op *op);

/* reference_adapter.c: backend.adapter_load, and what a row's adapters change. `row` is of the op's input; of a linear
 * `product` is its W · x, [rows], without the bias, of experts that of the row's j-th; of an embedding the table's row.
 */
bool reference_adapter_load(struct program *program, int slot, const struct adapter *adapter, struct error *error);
void reference_slot_release(struct reference_slot *slot);
void reference_adapt_linear(struct program *program, const struct op *op, int row, int j, double *product);
void reference_adapt_embedding(struct program *program, const struct op *op, int token, double *product);

/* reference_rows.c */
bool reference_pool_fill(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                         struct error *error);

/* reference_step.c */
bool reference_submit(struct program *program, const struct batch *batch, struct error *error);
bool reference_finish(struct program *program, const struct masks *masks, struct error *error);
bool reference_collect(struct program *program, struct result *result, struct error *error);

#endif
