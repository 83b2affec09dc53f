/* Tensors of experts: one for each, or one of all of them that is divided. */
#include "build/act_order.h"
#include "build/weight_source.h"

/* The expert's part of a tensor that is all experts': one dimension is theirs, or their rows follow each other. */
static bool tensor_divide(const struct weight *w, const struct tensor *all, int expert, struct tensor *out,
                          struct packed_division *packed) {
  size_t n = (size_t)w->n_expert, bytes = all->data.size / n;
  if (all->packed && !packed_matrix_divide(all->packed, w->n_expert, expert, packed)) return false;
  if (all->n_dim < 1 || all->dim[0] % w->n_expert != 0 || all->data.size % n != 0) return false;
  *out = *all;
  out->dim[0] /= w->n_expert;
  out->count /= n;
  out->data = slice_make(all->data.data + (size_t)expert * bytes, bytes);
  if (all->packed) out->packed = &packed->matrix;
  if (out->dim[0] > 1 || out->n_dim == 1) return true;
  memmove(out->dim, out->dim + 1, (size_t)--out->n_dim * sizeof *out->dim);
  return true;
}

const struct tensor *weight_source_find(struct weight_source *source, int part) {
  const struct weight *w = source->weight;
  const char *name = plan_name(source->plan, w->part[part].tensor);
  char own[EXPERT_NAME_BYTES];
  bool apart = w->n_expert > 0 && expert_tensor_apart(name);
  const struct tensor *tensor =
      checkpoint_find(source->checkpoint, apart ? expert_tensor_name(name, source->expert, own) : name);
  if (!tensor || w->n_expert == 0 || apart) return tensor;
  struct tensor *slice = &source->slice[part];
  return tensor_divide(w, tensor, source->expert, slice, &source->packed[part]) ? slice : NULL;
}

void weight_source_expert(struct weight_source *source, int expert) {
  source->expert = expert;
  for (int i = 0; i < source->weight->n_part; i++)
    if (!part_is_constant(source->plan, &source->weight->part[i])) source->part[i] = weight_source_find(source, i);
  source->column_order = act_order_columns(source->plan, source->index, source->checkpoint, expert);
  source->row_order = act_order_rows(source->plan, source->index, source->checkpoint, expert);
}
