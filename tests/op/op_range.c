/* Linears whose activations or weights are far from 1, and beyond what fp16 can hold: a GPU without bf16 multiplies
 * them all the same (src/backend/cuda/portable/linear.cuh). */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>

enum { COLS = 160, ROWS = 56, TOKENS = 40 }; /* a strip that is not whole */

static const struct limits limits = {
    .seats = 1, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 4, .block_size = 16};

static const struct {
  float in, matrix;
  enum scheme_kind kind;
} sizes[] = {
    {1, 1e30f, SCHEME_BF16},      {1, 1e-30f, SCHEME_BF16}, {1e6f, 1e5f, SCHEME_BF16},  {1e-9f, 1e-9f, SCHEME_BF16},
    {1e20f, 1e-10f, SCHEME_BF16}, {1e6f, 3e4f, SCHEME_F16}, {1e-9f, 1e-2f, SCHEME_F16}, {1e20f, 1, SCHEME_F16},
};

static void model_make(struct op_model *model, int i) {
  struct op op = op_make(OP_LINEAR, 0);
  model_init(model, ROWS, 13);
  op.in[0] = model_embedded_value(model, COLS, sizes[i].in);
  op.out = plan_add_value(&model->builder, ROWS, ROWS_TOKENS);
  op.weight[0] = model_matrix(model, (struct scheme){.kind = sizes[i].kind}, ROWS, COLS, sizes[i].matrix);
  plan_add_op(&model->builder, &op);
  model_finish(model, op.out, false);
}

static void size_run(const struct table *table, int i, struct family *family) {
  static float expected[TOKENS * ROWS], got[TOKENS * ROWS];
  static double tolerance[TOKENS * ROWS];
  static const int tokens[] = {TOKENS, 20, 3};
  double most = (double)COLS * (double)sizes[i].in * (double)sizes[i].matrix;
  double rounding = 1e-6 + input_roundoff(table, &(struct scheme){.kind = sizes[i].kind});
  char what[96];
  struct op_model model;
  struct op_packed packed;
  model_make(&model, i);
  packed_init(&packed, table->oracle, &model);
  struct program *oracle = packed_compile(&packed, table->oracle_device, &limits);
  program_tokens(&packed, oracle, &limits, TOKENS, expected);
  table->oracle->release(oracle);
  packed_release(&packed);
  for (int k = 0; k < TOKENS * ROWS; k++) tolerance[k] = rounding * most;
  packed_init(&packed, table->tested, &model);
  for (int s = 0; s < table->n_subject; s++) {
    struct program *program = packed_compile(&packed, table->subject[s].device[0], &limits);
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++) {
      snprintf(what, sizeof what, "%s, inputs below %g, weights below %g, %d rows", table->subject[s].name,
               (double)sizes[i].in, (double)sizes[i].matrix, tokens[t]);
      program_tokens(&packed, program, &limits, tokens[t], got);
      family_compare(family, what, expected, tolerance, got, (size_t)tokens[t] * ROWS);
    }
    table->tested->release(program);
  }
  packed_release(&packed);
  model_release(&model);
}

void range_cases(struct table *table) {
  struct family family = {.name = "linears of sizes far from 1"};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) size_run(table, (int)i, &family);
  family_end(table, &family);
}
