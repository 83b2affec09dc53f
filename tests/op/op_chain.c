/* Linears one after the other, as in a layer: each may leave its result to the next in the form that it wants. */
#include "op/op_table.h"

#include <math.h>
#include <string.h>

enum { IN = 128, WIDTH = 192, INNER = 128, TOKENS = 40, FEW = 32 /* which all kernels multiply alike */ };

static const struct limits limits = {
    .seats = 1, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 4, .block_size = 16};

static int linear_add(struct op_model *m, struct op *op, int matrix, int cols, int norm_cols, struct linear_args args) {
  op->weight[0] = matrix;
  if (norm_cols) op->weight[2] = model_vector(m, norm_cols, 0.5f, 1.5f);
  op->out = op->in[1] >= 0 ? op->in[1] : plan_add_value(&m->builder, cols, ROWS_TOKENS);
  args.norm = norm_cols ? NORM_RMS : NORM_NONE;
  args.eps = 1e-5f;
  args.scale = 1;
  args.lora_site = -1;
  op->args.linear = args;
  plan_add_op(&m->builder, op);
  return op->out;
}

/* h = residual + a · norm(x); result = h + d · (silu(g · norm(h)) × u · norm(h)) */
static void chain_make(struct op_model *m, struct scheme scheme) {
  struct op a = op_make(OP_LINEAR, 0), gate = op_make(OP_LINEAR, 0), down = op_make(OP_LINEAR, 0);
  model_init(m, WIDTH, 11);
  a.in[0] = model_embedded_value(m, IN, 1);
  a.in[1] = model_embedded_value(m, WIDTH, 1);
  int hidden = linear_add(m, &a, model_matrix(m, scheme, WIDTH, IN, 0.15f), WIDTH, IN, (struct linear_args){0});
  gate.in[0] = hidden;
  int inner = linear_add(m, &gate, model_gated_matrix(m, scheme, INNER, WIDTH, 0.15f), INNER, WIDTH,
                         (struct linear_args){.gated = true, .act = ACT_SILU});
  down.in[0] = inner;
  down.in[1] = hidden;
  linear_add(m, &down, model_matrix(m, scheme, WIDTH, INNER, 0.15f), WIDTH, 0, (struct linear_args){0});
  model_finish(m, hidden, false);
}

static void chain_step(const struct op_packed *packed, struct program *program, int n, float *result) {
  int32_t token[TOKENS], out[TOKENS];
  struct sampling sampling[TOKENS] = {0};
  struct row row = {.count = n};
  for (int i = 0; i < n; i++) token[i] = out[i] = i;
  struct batch batch = {
      .n_row = 1, .n_token = n, .n_out = n, .row = &row, .token = token, .out = out, .sampling = sampling};
  program_step(packed, program, &limits, batch, NULL, result);
}

/* Roundings of activations are independent of one another: three linears' are together some 1.2 roundoffs of a
 * result's usual size, and eight are allowed for. */
static double tolerance_of(const struct table *table, const struct scheme *scheme, const float *expected) {
  double squares = 0;
  for (int i = 0; i < TOKENS * WIDTH; i++) squares += (double)expected[i] * expected[i];
  return 1e-5 + 8 * input_roundoff(table, scheme) * sqrt(squares / (TOKENS * WIDTH));
}

void chain_cases(struct table *table) {
  static float expected[TOKENS * WIDTH], got[TOKENS * WIDTH], few[TOKENS * WIDTH];
  static double tolerance[TOKENS * WIDTH];
  static const int tokens[] = {TOKENS, FEW, 9, 1, 2};
  const struct scheme scheme = {.kind = SCHEME_BF16};
  struct family family = {.name = "linears one after the other"};
  struct op_model model;
  struct op_packed packed;
  chain_make(&model, scheme);
  packed_init(&packed, table->oracle, &model);
  struct program *oracle = packed_compile(&packed, table->oracle_device, &limits);
  chain_step(&packed, oracle, TOKENS, expected);
  table->oracle->release(oracle);
  packed_release(&packed);
  double allowed = tolerance_of(table, &scheme, expected);
  for (int i = 0; i < TOKENS * WIDTH; i++) tolerance[i] = allowed + 1e-5 * fabs((double)expected[i]);
  packed_init(&packed, table->tested, &model);
  for (int s = 0; s < table->n_subject; s++) {
    struct program *program = packed_compile(&packed, table->subject[s].device[1], &limits);
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++) {
      chain_step(&packed, program, tokens[t], got);
      family_compare(&family, table->subject[s].name, expected, tolerance, got, (size_t)tokens[t] * WIDTH);
      if (tokens[t] == FEW) memcpy(few, got, sizeof few);
      if (tokens[t] < FEW) family_same(&family, table->subject[s].name, few, got, (size_t)tokens[t] * WIDTH);
    }
    table->tested->release(program);
  }
  packed_release(&packed);
  model_release(&model);
  family_end(table, &family);
}
