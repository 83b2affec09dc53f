/* Linears that share a value: each fills its columns of it and leaves those of the others alone; the norms of their
 * results are over their own columns. */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>

enum { COLS = 96, TOKENS = 40, PARTS = 3, RESULT = 40 + 33 + 7 };

static const int part_rows[PARTS] = {40, 33, 7}; /* whole tiles in none, so that stores cross the borders if they can */
static const struct limits limits = {
    .seats = 1, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 4, .block_size = 16};

static const float size = 0.4f; /* of the matrices' elements; those of the input are below 1 */

static void columns_make(struct op_model *model, const int order[PARTS], bool normed) {
  model_init(model, RESULT, 7);
  int in = model_embedded_value(model, COLS, 1), out = plan_add_value(&model->builder, RESULT, ROWS_TOKENS);
  for (int i = 0, column = 0; i < PARTS; i++) {
    int part = order[i];
    struct op op = op_make(OP_LINEAR, 0);
    op.in[0] = in;
    op.out = out;
    op.weight[0] = model_matrix(model, op_schemes[2 + 2 * part], part_rows[part], COLS, size);
    op.args.linear.column = column;
    if (normed && i != 1) {
      op.args.linear.post_norm = NORM_RMS;
      op.args.linear.post_eps = 1e-5f;
      op.weight[3] = model_vector(model, part_rows[part], 0.5f, 1.5f);
    }
    column += part_rows[part];
    plan_add_op(&model->builder, &op);
  }
  model_finish(model, out, false);
}

static void order_run(const struct table *table, const int order[PARTS], bool normed, struct family *family) {
  static float expected[TOKENS * RESULT], got[TOKENS * RESULT];
  static double tolerance[TOKENS * RESULT];
  static const int tokens[] = {TOKENS, 1};
  struct op_model model;
  struct op_packed packed;
  columns_make(&model, order, normed);
  if (family_skips(family, table, &model)) {
    model_release(&model);
    return;
  }
  packed_init(&packed, table->oracle, &model);
  struct program *oracle = packed_compile(&packed, table->oracle_device, &limits);
  program_tokens(&packed, oracle, &limits, TOKENS, expected);
  table->oracle->release(oracle);
  packed_release(&packed);
  /* The results' squares are above 0.3 in the mean. */
  double rounding =
      (normed ? 3 : 1) * input_roundoff(table, &(struct scheme){.kind = SCHEME_BF16}) * COLS * (double)size;
  for (int i = 0; i < TOKENS * RESULT; i++) tolerance[i] = 1e-5 * (fabs((double)expected[i]) + 1) + rounding;
  packed_init(&packed, table->tested, &model);
  for (int s = 0; s < table->n_subject; s++)
    for (int k = 0; k < 2; k++) {
      struct program *program = packed_compile(&packed, table->subject[s].device[k], &limits);
      for (int t = 0; t < 2; t++) {
        program_tokens(&packed, program, &limits, tokens[t], got);
        family_compare(family, table->subject[s].name, expected, tolerance, got, (size_t)tokens[t] * RESULT);
      }
      table->tested->release(program);
    }
  packed_release(&packed);
  model_release(&model);
}

void column_cases(struct table *table) {
  for (int normed = 0; normed < 2; normed++) {
    struct family family = {0};
    snprintf(family.name, sizeof family.name, "linears side by side in one value%s", normed ? ", normed" : "");
    order_run(table, (const int[]){0, 1, 2}, normed, &family);
    order_run(table, (const int[]){2, 1, 0}, normed, &family);
    family_end(table, &family);
  }
}
