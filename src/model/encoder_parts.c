/* Norms and matrices of encoders. */
#include "model/encoder_parts.h"

#include <stdio.h>
#include <string.h>

void encoder_tensor(const struct encoder_scope *scope, const char *part, const char *suffix,
                    char out[TENSOR_NAME_BYTES]) {
  char layer[44] = "";
  if (scope->layer >= 0) snprintf(layer, sizeof layer, "%.30s.%d.", scope->layers, scope->layer);
  snprintf(out, TENSOR_NAME_BYTES, "%.50s%s%.50s%.10s", scope->prefix, layer, part, suffix);
}

int encoder_norm_named(struct plan_builder *builder, const char *name, int cols) {
  char weight[TENSOR_NAME_BYTES + 8], bias[TENSOR_NAME_BYTES + 8];
  snprintf(weight, sizeof weight, "%.140s.weight", name);
  snprintf(bias, sizeof bias, "%.140s.bias", name);
  return plan_add_bias(builder, weight, (const char *[]){weight, bias}, (int[]){cols, cols}, 2, false);
}

int encoder_norm(const struct encoder_scope *scope, const char *part, int cols) {
  char name[TENSOR_NAME_BYTES];
  encoder_tensor(scope, part, "", name);
  return encoder_norm_named(scope->builder, name, cols);
}

void encoder_matrix_add(const struct encoder_scope *scope, const struct encoder_matrix *matrix, struct op *op) {
  char called[TENSOR_NAME_BYTES], tensors[PLAN_PARTS][TENSOR_NAME_BYTES];
  const char *list[PLAN_PARTS];
  int rows[PLAN_PARTS];
  for (int i = 0; i < matrix->n_part; i++) {
    encoder_tensor(scope, matrix->parts[i], ".weight", tensors[i]);
    list[i] = tensors[i];
    rows[i] = matrix->rows;
  }
  snprintf(called, sizeof called, scope->layer < 0 ? "%s%s" : "%s%s.%d", scope->kind, matrix->name, scope->layer);
  op->weight[0] =
      plan_add_matrix(scope->builder, called, list, rows, matrix->n_part, matrix->cols, matrix->interleaved);
  if (!matrix->bias) return;
  for (int i = 0; i < matrix->n_part; i++) encoder_tensor(scope, matrix->parts[i], ".bias", tensors[i]);
  strcat(called, ".bias");
  op->weight[1] = plan_add_bias(scope->builder, called, list, rows, matrix->n_part, matrix->interleaved);
}

struct op encoder_linear(const struct encoder_scope *scope, int in, int out) {
  struct op op = op_make(OP_LINEAR, scope->layer);
  op.in[0] = in;
  op.out = out;
  return op;
}
