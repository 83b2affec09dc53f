/* Plan builder: six growing arrays, then one block. */
#include "plan/plan_builder.h"

enum { PLAN_PART_BYTES_MAX = 64 << 20, PLAN_ALIGN = 8 };

void plan_builder_init(struct plan_builder *builder, enum plan_role role) {
  *builder = (struct plan_builder){.head = {.magic = PLAN_MAGIC, .version = PLAN_VERSION, .role = role}};
  struct buffer *parts[] = {&builder->ops,    &builder->weights, &builder->values,
                            &builder->groups, &builder->floats,  &builder->names};
  for (int i = 0; i < 6; i++) buffer_init(parts[i], PLAN_PART_BYTES_MAX);
}

void plan_builder_release(struct plan_builder *builder) {
  buffer_release(&builder->ops);
  buffer_release(&builder->weights);
  buffer_release(&builder->values);
  buffer_release(&builder->groups);
  buffer_release(&builder->floats);
  buffer_release(&builder->names);
}

static uint32_t name_add(struct plan_builder *builder, const char *name) {
  uint32_t at = (uint32_t)builder->names.size;
  buffer_append(&builder->names, name, strlen(name) + 1);
  return at;
}

int plan_add_value(struct plan_builder *builder, int cols, enum value_rows rows) {
  struct value value = {.cols = cols, .rows = (uint8_t)rows};
  buffer_append(&builder->values, &value, sizeof value);
  return builder->head.n_value++;
}

int plan_add_choice(struct plan_builder *builder, int n_expert, int k) {
  struct value value = {.cols = 2 * k, .rows = ROWS_TOKENS, .n_expert = (uint16_t)n_expert};
  buffer_append(&builder->values, &value, sizeof value);
  return builder->head.n_value++;
}

int plan_add_group(struct plan_builder *builder, struct kv_group group) {
  buffer_append(&builder->groups, &group, sizeof group);
  return builder->head.n_group++;
}

uint32_t plan_add_floats(struct plan_builder *builder, const float *data, uint32_t count) {
  uint32_t first = builder->head.n_float;
  buffer_append(&builder->floats, data, count * sizeof *data);
  builder->head.n_float += count;
  return first;
}

int plan_add_vector(struct plan_builder *builder, const char *tensor, int cols, float add) {
  uint32_t name = name_add(builder, tensor);
  struct weight weight = {.name = name, .rows = 1, .cols = cols, .use = WEIGHT_VECTOR, .n_part = 1};
  weight.part[0] = (struct weight_part){.tensor = name, .rows = cols, .add = add};
  buffer_append(&builder->weights, &weight, sizeof weight);
  return builder->head.n_weight++;
}

/* Fills the weight's parts and returns their rows together, padding included. */
static int parts_add(struct plan_builder *builder, struct weight *weight, const struct tensor_slice *slices, int n_part,
                     bool interleaved) {
  int rows = 0, unit = interleaved ? GATE_INTERLEAVE : 1;
  weight->n_part = (uint8_t)n_part;
  weight->interleaved = interleaved;
  for (int i = 0; i < n_part; i++) {
    weight->part[i] = (struct weight_part){.tensor = name_add(builder, slices[i].tensor),
                                           .first = slices[i].first,
                                           .rows = slices[i].rows,
                                           .run = slices[i].run,
                                           .period = slices[i].period};
    rows += (slices[i].rows + unit - 1) / unit * unit;
  }
  return rows;
}

int plan_add_experts(struct plan_builder *builder, const char *name, const struct tensor_slice *slices,
                     const struct expert_spec *spec) {
  struct weight weight = {.name = name_add(builder, name),
                          .rows = 1,
                          .cols = spec->cols,
                          .n_expert = spec->n_expert,
                          .use = (uint8_t)spec->use,
                          .order = spec->order};
  int joined = parts_add(builder, &weight, slices, spec->n_part, spec->interleaved);
  *(spec->use == WEIGHT_VECTOR ? &weight.cols : &weight.rows) = joined;
  buffer_append(&builder->weights, &weight, sizeof weight);
  return builder->head.n_weight++;
}

int plan_add_slices(struct plan_builder *builder, const char *name, enum weight_use use,
                    const struct tensor_slice *slices, int n_part, int cols, bool interleaved) {
  return plan_add_experts(
      builder, name, slices,
      &(struct expert_spec){.use = use, .n_part = n_part, .cols = cols, .interleaved = interleaved});
}

/* All rows of each tensor. */
static int wholes_add(struct plan_builder *builder, const char *name, enum weight_use use, const char *const *tensors,
                      const int *part_rows, int n_part, int cols, bool interleaved) {
  struct tensor_slice slices[PLAN_PARTS];
  for (int i = 0; i < n_part; i++) slices[i] = (struct tensor_slice){.tensor = tensors[i], .rows = part_rows[i]};
  return plan_add_slices(builder, name, use, slices, n_part, cols, interleaved);
}

int plan_add_bias(struct plan_builder *builder, const char *name, const char *const *tensors, const int *part_rows,
                  int n_part, bool interleaved) {
  return wholes_add(builder, name, WEIGHT_VECTOR, tensors, part_rows, n_part, 1, interleaved);
}

int plan_add_matrix(struct plan_builder *builder, const char *name, const char *const *tensors, const int *part_rows,
                    int n_part, int cols, bool interleaved) {
  return wholes_add(builder, name, WEIGHT_MATRIX, tensors, part_rows, n_part, cols, interleaved);
}

int plan_add_ordered(struct plan_builder *builder, const char *name, const char *tensor, int rows, int cols,
                     uint8_t order) {
  struct weight weight = {.name = name_add(builder, name), .cols = cols, .use = WEIGHT_MATRIX, .order = order};
  weight.rows = parts_add(builder, &weight, &(struct tensor_slice){.tensor = tensor, .rows = rows}, 1, false);
  buffer_append(&builder->weights, &weight, sizeof weight);
  return builder->head.n_weight++;
}

struct op op_make(enum op_kind kind, int layer) {
  struct op op = {.kind = kind, .layer = layer, .out = -1};
  for (int i = 0; i < OP_INPUTS; i++) op.in[i] = -1;
  for (int i = 0; i < OP_WEIGHTS; i++) op.weight[i] = -1;
  if (kind == OP_EMBED) op.args.embed.scale = 1;
  if (kind == OP_LINEAR) op.args.linear = (struct linear_args){.scale = 1, .lora_site = -1};
  if (kind == OP_ROUTE) op.args.route.scale = 1;
  if (kind == OP_ATTEND) op.args.attend = (struct attend_args){.rope_scale = 1, .scale = 1};
  return op;
}

int plan_add_op(struct plan_builder *builder, const struct op *op) {
  buffer_append(&builder->ops, op, sizeof *op);
  return builder->head.n_op++;
}

/* Appends one array at the next aligned offset and returns that offset. */
static uint32_t part_append(struct buffer *block, const struct buffer *part) {
  static const char zero[PLAN_ALIGN];
  size_t rest = block->size % PLAN_ALIGN;
  if (rest) buffer_append(block, zero, PLAN_ALIGN - rest);
  uint32_t at = (uint32_t)block->size;
  buffer_append(block, part->data, part->size);
  if (part->failed) block->failed = true;
  return at;
}

bool plan_finish(struct plan_builder *builder, struct buffer *block, struct error *error) {
  struct plan head = builder->head;
  buffer_clear(block);
  buffer_append(block, &head, sizeof head);
  head.ops = part_append(block, &builder->ops);
  head.weights = part_append(block, &builder->weights);
  head.values = part_append(block, &builder->values);
  head.groups = part_append(block, &builder->groups);
  head.floats = part_append(block, &builder->floats);
  head.names = part_append(block, &builder->names);
  head.names_bytes = (uint32_t)builder->names.size;
  head.bytes = block->size;
  if (block->failed) return error_set(error, ERROR_MEMORY, "The plan does not fit in its %zu bytes.", block->max);
  memcpy(block->data, &head, sizeof head);
  return plan_check(buffer_slice(block), error);
}
