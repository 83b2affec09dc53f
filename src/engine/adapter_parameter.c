/* Names of experts' tensors, and cutting factors. */
#include "engine/adapter_parameter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How tensors' names go on after "model.layers.3.", and the module that has the parameter there. */
static const struct {
  const char *tensor, *module;
  bool gates, halved, up;
} parameters[] = {
    {"mlp.experts.{e}.gate_proj.weight", "mlp.experts", true, true, false},
    {"mlp.experts.{e}.up_proj.weight", "mlp.experts", true, true, true},
    {"mlp.experts.{e}.down_proj.weight", "mlp.experts", false, false, false},
    {"block_sparse_moe.experts.{e}.w1.weight", "mlp.experts", true, true, false},
    {"block_sparse_moe.experts.{e}.w3.weight", "mlp.experts", true, true, true},
    {"block_sparse_moe.experts.{e}.w2.weight", "mlp.experts", false, false, false},
    {"block_sparse_moe.input_linear.weight", "block_sparse_moe.experts", true, false, false},
    {"block_sparse_moe.output_linear.weight", "block_sparse_moe.experts", false, false, false},
    {"mlp.experts.gate_up_proj", "mlp.experts", true, false, false},
    {"mlp.experts.down_proj", "mlp.experts", false, false, false},
};

bool expert_parameter_of(const char *tensor, struct expert_parameter *out) {
  for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
    size_t size = strlen(tensor), end = strlen(parameters[i].tensor);
    if (size <= end || tensor[size - end - 1] != '.' || strcmp(tensor + size - end, parameters[i].tensor) != 0)
      continue;
    out->gates = parameters[i].gates;
    out->halved = parameters[i].halved;
    out->up = parameters[i].up;
    return snprintf(out->module, sizeof out->module, "%.*s%s", (int)(size - end), tensor, parameters[i].module) <
           (int)sizeof out->module;
  }
  return false;
}

void expert_parameter_name(const struct expert_parameter *parameter, char out[2 * ADAPTER_MODULE_BYTES]) {
  snprintf(out, 2 * ADAPTER_MODULE_BYTES, "%s.%s", parameter->module, parameter->gates ? "gate_up_proj" : "down_proj");
}

static bool slices_same(const struct expert_slice *x, const struct expert_slice *y) {
  return x->a == y->a && x->b == y->b && x->expert == y->expert && x->first == y->first && x->rows == y->rows;
}

struct expert_factors *expert_factors_take(struct expert_factors **list, const struct expert_slice *s,
                                           struct error *error) {
  if (*list && slices_same(&(*list)->of, s)) return *list;
  size_t rank = (size_t)s->rank, n = (size_t)s->n_expert, e = (size_t)s->expert, rows = (size_t)s->rows;
  size_t each = s->b->data.size / s->b->count, bytes = s->a->data.size / n;
  struct expert_factors *f = malloc(sizeof *f + rows * rank * each);
  if (!f) {
    error_set(error, ERROR_MEMORY, "There is no memory for an adapter of %d experts.", s->n_expert);
    return NULL;
  }
  f->next = *list;
  *list = f;
  f->of = *s;
  f->a = *s->a;
  f->b = *s->b;
  f->a.dim[0] = f->b.dim[1] = s->rank;
  f->b.dim[0] = s->rows;
  f->a.count = s->a->count / n;
  f->b.count = rows * rank;
  f->a.data = slice_make(s->a->data.data + e * bytes, bytes);
  f->b.data = slice_make(f->numbers, rows * rank * each);
  const uint8_t *from = s->b->data.data + ((size_t)s->first * rank * n + e) * each;
  for (size_t i = 0; i < rows * rank; i++) memcpy(f->numbers + i * each, from + i * n * each, each);
  return f;
}
