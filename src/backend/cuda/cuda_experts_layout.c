/* Mixtures of experts on a GPU: which linears run on matrix units, and sizes. Host code without a device. */
#include "backend/backends.h"
#include "backend/cuda/cuda_program.h"

static size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

bool cuda_op_has_experts(const struct op *op) {
  return op->kind == OP_LINEAR && op->args.linear.expert_mode != EXPERTS_NONE;
}

int cuda_expert_results(const struct plan *plan, const struct op *op) {
  if (op->args.linear.expert_mode == EXPERTS_EACH) return plan_weights(plan)[op->weight[0]].n_expert;
  return plan_values(plan)[op->in[2]].cols / 2;
}

/* Of 4 and 8 bits, on Hopper. */
static bool is_coded(const struct scheme *s) { return cuda_scheme_coded(s) && s->activation != ACTIVATION_INT8; }

bool cuda_experts_units(const struct cuda_path *path, const struct plan *plan, const struct op *op) {
  if (!cuda_op_has_experts(op)) return false;
  const struct scheme *s = &plan_weights(plan)[op->weight[0]].scheme;
  if (is_coded(s)) return !path || path->linear_coded;
  return s->kind == SCHEME_BF16 && (!path || path->least >= 80);
}

size_t cuda_expert_bytes(const struct weight *weight) {
  return backend_packed_bytes(&backend_cuda, weight) / (size_t)weight_experts(weight);
}

size_t cuda_experts_expanded(const struct plan *plan, const struct limits *limits, const struct op *op) {
  const struct weight *w = plan_weights(plan) + op->weight[0];
  size_t strips = ((size_t)w->rows + STRIP_ROWS - 1) / STRIP_ROWS;
  size_t bytes = strips * (size_t)w->n_expert * cuda_expanded_strip(w);
  size_t pairs = (size_t)limits->tokens * (size_t)cuda_expert_results(plan, op);
  bool many = op->in[2] >= 0 && pairs > (size_t)EXPERT_EXPAND * (size_t)w->n_expert && !limits->batch_invariant;
  bool coded = is_coded(&w->scheme) && w->scheme.activation == ACTIVATION_FLOAT;
  return coded && many && bytes <= EXPERT_EXPANDED ? bytes : 0;
}

static size_t list_words(int32_t n_pair, int32_t n_expert) {
  size_t tiles = 3 * (size_t)cuda_expert_tiles(n_pair, n_expert, EXPERT_TILE);
  return (size_t)n_expert + 1 + 2 * (size_t)n_pair + 2 * (size_t)n_expert + tiles + 2;
}

/* Floats of a gather's products of so many tokens on matrix units: bf16 in whole chunks of 16 bytes, or floats of
 * slices that are shorter. */
static size_t products_units(size_t tokens, size_t results, size_t rows) {
  size_t slice = tokens < EXPERT_SLICE ? tokens : EXPERT_SLICE, longer = tokens < EXPERT_LONG ? tokens : EXPERT_LONG;
  return size_max(slice * results * rows, longer * results * ((rows + 7) / 8 * 4));
}

/* Products of pairs, and inputs of kernels that take floats, are there for a slice of the tokens alone. */
void cuda_experts_need(const struct plan *plan, const struct limits *limits, const struct op *op,
                       struct cuda_linear_needs *most) {
  const struct weight *w = plan_weights(plan) + op->weight[0];
  size_t results = (size_t)cuda_expert_results(plan, op), tokens = (size_t)limits->tokens;
  size_t inputs = op->args.linear.expert_mode == EXPERTS_SPREAD ? 1 : results;
  size_t slice = tokens < EXPERT_LONG ? tokens : EXPERT_LONG, plain = tokens < EXPERT_PLAIN ? tokens : EXPERT_PLAIN;
  size_t cols = (size_t)w->cols, padded = (cols + PIECE_COLS - 1) / PIECE_COLS * PIECE_COLS;
  bool gather = op->args.linear.expert_mode == EXPERTS_GATHER, units = cuda_experts_units(NULL, plan, op);
  if (units && !cuda_each_fits(NULL, plan, op))
    most->fragments = size_max(most->fragments, tokens * inputs * padded * sizeof(uint16_t));
  if (units && w->scheme.activation) most->squares = size_max(most->squares, tokens * inputs); /* scales of rows */
  most->expanded = size_max(most->expanded, cuda_experts_expanded(plan, limits, op));
  most->prepared = size_max(most->prepared, plain * inputs * cols);
  most->product = size_max(most->product, gather && units ? products_units(tokens, results, (size_t)w->rows)
                                                          : plain * results * (size_t)w->rows);
  if (op->in[2] >= 0 && gather && units) {
    int few = tokens < MIXTURE_TOKENS ? (int)tokens : MIXTURE_TOKENS;
    uint32_t between = mixture_words(few, w->n_expert, (int)results, w->rows, w->cols, w->rows).used;
    if (between > most->between) most->between = between;
  }
  if (op->in[2] >= 0)
    most->lists = size_max(most->lists, list_words((int32_t)((units ? slice : plain) * results), w->n_expert));
}
