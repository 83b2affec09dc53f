/* The adapter is read as for an engine. The engine is made up: its plan is the draft's, its weights are the
 * checkpoint's rows, which the reader asks for one by one through a backend that has nothing else. */
#include "build/merge_adapter.h"

#include "base/limits.h"
#include "base/scaled_name.h"
#include "build/fold_record.h"
#include "build/source_digest.h"
#include "build/weight_source.h"
#include "engine/adapter_read.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* What stands for a matrix's packed bytes. */
struct base_matrix {
  struct weight_source source;
  struct packed_buffer packed;
};

struct merge_adapter {
  struct engine_header header;
  struct engine_facts facts;
  struct engine_file base;
  struct engine_weight *place; /* [n_weight] */
  struct buffer folds;         /* the base's orders */
  uint8_t *block;              /* of base_matrix, and of vectors' floats */
  size_t n_matrix;             /* at the block's beginning */
  struct adapter *adapter;
  struct weight_merge *merge; /* [n_weight] */
  struct weight_transform *transform;
};

static void base_row(const struct weight *weight, struct slice packed, int row, float *out) {
  struct base_matrix *matrix = (void *)(uintptr_t)packed.data;
  int part, tensor_row;
  if (weight_row_source(weight, row, &part, &tensor_row))
    weight_source_row(&matrix->source, &matrix->packed, part, tensor_row, out);
  else
    memset(out, 0, (size_t)weight->cols * sizeof *out);
}

static const struct backend base_backend = {.name = "checkpoint", .unpack_row = base_row};

/* --- the base ----------------------------------------------------------------------------------------------------- */

/* Of all experts' vectors. */
static size_t weight_bytes(const struct weight *weight) {
  size_t numbers = (size_t)weight_experts(weight) * (size_t)weight->cols;
  return weight->use == WEIGHT_VECTOR ? (numbers * sizeof(float) + 15) / 16 * 16 : 0;
}

static bool base_weight(struct merge_adapter *merge, const struct draft *draft, int index, size_t *used,
                        struct error *error) {
  const struct plan *plan = draft_plan(draft);
  const struct weight *weight = &plan_weights(plan)[index];
  struct base_matrix *matrix = (struct base_matrix *)(void *)merge->block + index;
  if (!weight_source_init(&matrix->source, plan, index, draft->checkpoint, error)) return false;
  merge->place[index].offset = weight->use == WEIGHT_VECTOR ? *used : (size_t)index * sizeof *matrix;
  if (weight->use != WEIGHT_VECTOR) return packed_buffer_init(&matrix->packed, weight->cols, error);
  *used += weight_bytes(weight);
  return weight_source_vector(&matrix->source, (float *)(void *)(merge->block + merge->place[index].offset), error);
}

static bool base_make(struct merge_adapter *merge, const struct draft *draft, struct error *error) {
  const struct plan *plan = draft_plan(draft);
  size_t n = (size_t)plan->n_weight, used = (n * sizeof(struct base_matrix) + 15) / 16 * 16, bytes = used;
  for (size_t i = 0; i < n; i++) bytes += weight_bytes(&plan_weights(plan)[i]);
  merge->place = calloc(n + 1, sizeof *merge->place);
  merge->merge = calloc(n + 1, sizeof *merge->merge);
  merge->transform = calloc(n + 1, sizeof *merge->transform);
  merge->block = calloc(1, bytes + 1);
  buffer_init(&merge->folds, LIMIT_FOLD_BYTES);
  if (!merge->place || !merge->merge || !merge->transform || !merge->block)
    return error_set(error, ERROR_MEMORY, "Out of memory for an adapter.");
  if (!fold_record_make(plan, draft->checkpoint, NULL, &merge->folds, error)) return false;
  merge->n_matrix = n;
  merge->facts = draft->facts;
  merge->base = (struct engine_file){.file = {.data = merge->block, .descriptor = -1},
                                     .header = &merge->header,
                                     .facts = &merge->facts,
                                     .plan = plan,
                                     .weights = merge->place,
                                     .folds = buffer_slice(&merge->folds),
                                     .backend = &base_backend};
  for (int i = 0; i < plan->n_weight; i++)
    if (!base_weight(merge, draft, i, &used, error)) return false;
  return true;
}

/* --- what becomes of it ------------------------------------------------------------------------------------------- */

/* A matrix that two ops read, of which the adapter changes one. */
static bool shared_check(const struct plan *plan, const struct adapter_op *of, struct error *error) {
  const struct op *op = &plan_ops(plan)[of->op];
  for (int i = 0; i < plan->n_op; i++)
    if (i != of->op && plan_ops(plan)[i].weight[0] == op->weight[0])
      return error_set(error, ERROR_UNSUPPORTED,
                       "The embedding and the head are one matrix, %s, of which the adapter changes one use: it cannot "
                       "be merged. Serve it as an adapter (--lora-dir).",
                       plan_name(plan, plan_weights(plan)[op->weight[0]].name));
  return true;
}

/* One of the experts of a weight. */
static bool expert_merge(struct merge_adapter *merge, const struct weight *weight, int index,
                         const struct adapter_op *of, float scale, struct error *error) {
  struct weight_merge *into = &merge->merge[index];
  if (!into->expert) {
    into->expert = calloc((size_t)weight->n_expert, sizeof *into->expert);
    into->n_expert = weight->n_expert;
    into->scale = scale;
    merge->transform[index].merge = into;
  }
  if (!into->expert)
    return error_set(error, ERROR_MEMORY, "Out of memory for an adapter of %d experts.", weight->n_expert);
  into->expert[of->expert] = of;
  return true;
}

static bool op_merge(struct merge_adapter *merge, const struct plan *plan, const struct adapter_op *of, float scale,
                     struct error *error) {
  const struct op *op = &plan_ops(plan)[of->op];
  const struct weight *weight = &plan_weights(plan)[op->weight[0]];
  if (weight->n_expert > 0) return expert_merge(merge, weight, op->weight[0], of, scale, error);
  if (!shared_check(plan, of, error)) return false;
  int index = op->weight[0];
  merge->merge[index] = (struct weight_merge){.op = of, .scale = scale, .embeds = op->kind == OP_EMBED};
  merge->transform[index].merge = &merge->merge[index];
  if (!of->shift) return true;
  if (op->weight[1] < 0)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The adapter adds a bias to %s, which has none: it cannot be merged. Serve it as an adapter "
                     "(--lora-dir).",
                     plan_name(plan, plan_weights(plan)[index].name));
  merge->merge[op->weight[1]] = merge->merge[index];
  merge->transform[op->weight[1]].merge = &merge->merge[op->weight[1]];
  return true;
}

/* What its weights are known by is found only for an adapter that names it: that takes a pass over all of them. */
static bool base_identify(struct merge_adapter *merge, const char *path, const struct draft *draft,
                          struct error *error) {
  struct hash128 wanted;
  bool stated;
  if (!adapter_read_base(path, &wanted, &stated, error)) return error_prefix(error, "merge_lora: ");
  return !stated || source_digest(draft, &merge->header.base, error);
}

static bool merge_fill(struct merge_adapter *merge, const char *given, const struct draft *draft, struct error *error) {
  char path[PATH_MAX];
  float scale;
  struct slice name = scaled_name_read(given, &scale);
  if (name.size >= sizeof path) return error_set(error, ERROR_INVALID, "merge_lora: The path is too long.");
  memcpy(path, name.data, name.size);
  path[name.size] = '\0';
  if (!base_make(merge, draft, error) || !base_identify(merge, path, draft, error)) return false;
  merge->adapter = adapter_read_merged(path, &merge->base, error);
  if (!merge->adapter) return error_prefix(error, "merge_lora: ");
  for (int i = 0; i < merge->adapter->n_op; i++)
    if (!op_merge(merge, draft_plan(draft), &merge->adapter->op[i], scale, error)) return false;
  return true;
}

struct merge_adapter *merge_adapter_open(const char *given, const struct draft *draft, struct error *error) {
  struct merge_adapter *merge = calloc(1, sizeof *merge);
  if (!merge) error_set(error, ERROR_MEMORY, "Out of memory for an adapter.");
  if (merge && merge_fill(merge, given, draft, error)) return merge;
  merge_adapter_close(merge);
  return NULL;
}

void merge_adapter_close(struct merge_adapter *merge) {
  if (!merge) return;
  for (size_t i = 0; i < merge->n_matrix; i++)
    packed_buffer_release(&((struct base_matrix *)(void *)merge->block)[i].packed);
  for (size_t i = 0; merge->merge && i < merge->n_matrix; i++) free(merge->merge[i].expert);
  adapter_free(merge->adapter);
  buffer_release(&merge->folds);
  free(merge->place);
  free(merge->merge);
  free(merge->transform);
  free(merge->block);
  free(merge);
}

const struct weight_transform *merge_adapter_transforms(const struct merge_adapter *merge) { return merge->transform; }
