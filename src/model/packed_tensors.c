/* Which tensors belong together, by the ends of their names. */
#include "model/packed_tensors.h"

#include "model/quantization_config.h"

#include <stdio.h>
#include <string.h>

enum part { PART_CODES, PART_SCALE, PART_ZERO, PART_INDEX, PART_SHAPE, PART_LEFT_OUT, PART_COUNT };

struct ending {
  enum quantization_naming naming;
  enum part part;
  const char *text;
};

static const struct ending endings[] = {
    {NAMING_QWEIGHT, PART_CODES, ".qweight"},
    {NAMING_QWEIGHT, PART_ZERO, ".qzeros"},
    {NAMING_QWEIGHT, PART_SCALE, ".scales"},
    {NAMING_QWEIGHT, PART_INDEX, ".g_idx"},
    {NAMING_COMPRESSED, PART_CODES, ".weight_packed"},
    {NAMING_COMPRESSED, PART_CODES, ".weight"},
    {NAMING_COMPRESSED, PART_SCALE, ".weight_scale"},
    {NAMING_COMPRESSED, PART_ZERO, ".weight_zero_point"},
    {NAMING_COMPRESSED, PART_INDEX, ".weight_g_idx"},
    {NAMING_COMPRESSED, PART_SHAPE, ".weight_shape"},
    {NAMING_COMPRESSED, PART_LEFT_OUT, ".input_scale"},
    {NAMING_COMPRESSED, PART_LEFT_OUT, ".input_zero_point"},
    {NAMING_COMPRESSED, PART_LEFT_OUT, ".k_scale"},
    {NAMING_COMPRESSED, PART_LEFT_OUT, ".v_scale"},
    {NAMING_SCALE_INV, PART_CODES, ".weight"},
    {NAMING_SCALE_INV, PART_SCALE, ".weight_scale_inv"},
    {NAMING_SCALE_INV, PART_SCALE, ".weight_scale"}, /* the same, as AutoFP8 calls it */
    {NAMING_SCALE_INV, PART_LEFT_OUT, ".input_scale"},
    {NAMING_SCALE_INV, PART_LEFT_OUT, ".activation_scale"},
    {NAMING_SCALE_INV, PART_LEFT_OUT, ".k_scale"},
    {NAMING_SCALE_INV, PART_LEFT_OUT, ".v_scale"},
    {NAMING_BLOCKS, PART_CODES, "_blocks"},
    {NAMING_BLOCKS, PART_SCALE, "_scales"},
};

enum { N_ENDING = sizeof endings / sizeof *endings, NAME_BYTES = LIMIT_TENSOR_NAME_BYTES + 32 };

struct joining {
  const struct tensor_table *in;
  const struct quantization_config *quantization;
  struct arena *arena;
  struct tensor_table *out;
};

/* Plain floats under a name that codes could have. */
static bool tensor_is_plain(const struct tensor *tensor) {
  return tensor->type == TENSOR_F32 || tensor->type == TENSOR_F16 || tensor->type == TENSOR_BF16;
}

/* The ending of a part's name; NULL when the tensor is no part of anything. */
static const struct ending *ending_of(const struct joining *j, const struct tensor *tensor) {
  size_t size = strlen(tensor->name);
  for (int i = 0; i < N_ENDING; i++) {
    size_t tail = strlen(endings[i].text);
    if (endings[i].naming != j->quantization->naming || size <= tail ||
        strcmp(tensor->name + size - tail, endings[i].text) != 0)
      continue;
    return endings[i].part == PART_CODES && tensor_is_plain(tensor) ? NULL : &endings[i];
  }
  return NULL;
}

/* The module that a part belongs to: its name without the ending. */
static struct slice module_of(const struct tensor *tensor, const struct ending *ending) {
  return slice_make((const uint8_t *)tensor->name, strlen(tensor->name) - strlen(ending->text));
}

static const struct tensor *part_find(const struct joining *j, struct slice module, enum part part) {
  for (int i = 0; i < N_ENDING; i++) {
    char name[NAME_BYTES];
    if (endings[i].naming != j->quantization->naming || endings[i].part != part) continue;
    snprintf(name, sizeof name, "%.*s%s", SLICE_ARGS(module), endings[i].text);
    const struct tensor *tensor = tensor_find(j->in, name);
    if (tensor && !(part == PART_CODES && tensor_is_plain(tensor))) return tensor;
  }
  return NULL;
}

/* The matrix in the first of the checkpoint's ways of storing that fits; the sentence is about the first way. */
static bool matrix_init(const struct joining *j, struct packed_matrix *matrix, const struct packed_parts *parts,
                        struct error *error) {
  struct error first = {0};
  for (int i = 0; i < j->quantization->n_spec; i++)
    if (packed_matrix_init(matrix, &j->quantization->spec[i], parts, i == 0 ? &first : NULL)) return true;
  return error_set(error, first.code, "%s", first.text);
}

/* The matrix as one tensor; those of blocks keep the dimension that counts them. */
static struct tensor tensor_of(const char *name, const struct packed_matrix *matrix) {
  const struct tensor *codes = matrix->parts.codes;
  struct tensor joined = {.name = name,
                          .type = TENSOR_PACKED,
                          .n_dim = 2,
                          .dim = {matrix->rows, matrix->cols},
                          .count = (size_t)matrix->rows * (size_t)matrix->cols,
                          .at = codes->at,
                          .data = codes->data,
                          .packed = matrix};
  if (!matrix->form.is_e2m1) return joined;
  joined.n_dim = codes->n_dim - 1;
  memcpy(joined.dim, codes->dim, sizeof joined.dim);
  joined.dim[joined.n_dim - 1] = matrix->cols;
  return joined;
}

static bool matrix_join(const struct joining *j, const struct tensor *codes, struct slice module, struct error *error) {
  const struct packed_parts parts = {.codes = codes,
                                     .scale = part_find(j, module, PART_SCALE),
                                     .zero = part_find(j, module, PART_ZERO),
                                     .index = part_find(j, module, PART_INDEX),
                                     .shape = part_find(j, module, PART_SHAPE)};
  struct packed_matrix *matrix = arena_alloc(j->arena, sizeof *matrix);
  char *name = arena_alloc(j->arena, module.size + sizeof ".weight");
  if (!matrix || !name) return error_set(error, ERROR_MEMORY, "There is no memory for a list of tensors.");
  if (!matrix_init(j, matrix, &parts, error)) return false;
  if (matrix->form.scattered) {
    int *order = arena_array(j->arena, (size_t)matrix->cols, sizeof *order);
    if (!order) return error_set(error, ERROR_MEMORY, "There is no memory for the order of columns.");
    if (packed_matrix_order(matrix, order)) matrix->order = order;
  }
  bool blocks = j->quantization->naming == NAMING_BLOCKS; /* of a parameter by itself: its module has no other */
  sprintf(name, "%.*s%s", SLICE_ARGS(module), blocks ? "" : ".weight");
  j->out->tensors[j->out->n_tensor++] = tensor_of(name, matrix);
  return true;
}

static bool tensor_join(const struct joining *j, const struct tensor *tensor, struct error *error) {
  const struct ending *ending = ending_of(j, tensor);
  if (ending && ending->part == PART_CODES) return matrix_join(j, tensor, module_of(tensor, ending), error);
  if (ending && (ending->part == PART_LEFT_OUT || part_find(j, module_of(tensor, ending), PART_CODES))) return true;
  j->out->tensors[j->out->n_tensor++] = *tensor;
  return true;
}

bool packed_tensors_open(struct packed_tensors *out, const struct tensor_table *in, const json_t *config,
                         struct error *error) {
  struct quantization_config quantization;
  arena_init(&out->arena, LIMIT_MODEL_HEADER_MEMORY);
  out->table = (struct tensor_table){0};
  if (!quantization_config_read(&quantization, config, error)) return false;
  if (quantization.naming == NAMING_NONE) return true;
  const struct joining joining = {.in = in, .quantization = &quantization, .arena = &out->arena, .out = &out->table};
  out->table.tensors = arena_array(&out->arena, (size_t)in->n_tensor + 1, sizeof *out->table.tensors);
  if (!out->table.tensors) return error_set(error, ERROR_MEMORY, "There is no memory for a list of tensors.");
  for (int i = 0; i < in->n_tensor; i++)
    if (!tensor_join(&joining, in->tensors + i, error)) return false;
  return tensor_table_index(&out->table, &out->arena, error);
}

void packed_tensors_release(struct packed_tensors *tensors) { arena_release(&tensors->arena); }
