/* Finding, checking and reading tensors, by the names that either kind of file has for them. */
#include "engine/adapter_source.h"

#include "base/limits.h"
#include "plan/adapter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME_BYTES = ADAPTER_MODULE_BYTES + 64 };

/* --- opening ------------------------------------------------------------------------------------------------------ */

static bool peft_open(struct adapter_source *source, const char *folder, struct error *error) {
  snprintf(source->path, sizeof source->path, "%s/adapter_config.json", folder);
  if (!(source->config = adapter_config_read(source->path, error))) return false;
  snprintf(source->path, sizeof source->path, "%s/adapter_model.safetensors", folder);
  if (!(source->safetensors = safetensors_open(source->path, error))) return false;
  source->tensors = &source->safetensors->tensors;
  return true;
}

static bool gguf_source_open(struct adapter_source *source, const char *path, struct error *error) {
  snprintf(source->path, sizeof source->path, "%s", path);
  if (!(source->gguf = gguf_open(path, error))) return false;
  source->tensors = &source->gguf->tensors;
  return gguf_adapter_settings(source->gguf, &source->settings, error) || error_prefix(error, "%s: ", path);
}

bool adapter_source_open(struct adapter_source *source, const char *path, struct error *error) {
  struct stat status;
  *source = (struct adapter_source){0};
  if (stat(path, &status) != 0)
    return error_set(error, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "%s cannot be read: %s.", path,
                     strerror(errno));
  bool opened = S_ISDIR(status.st_mode) ? peft_open(source, path, error) : gguf_source_open(source, path, error);
  if (!opened) return false;
  source->used = calloc((size_t)source->tensors->n_tensor + 1, sizeof *source->used);
  return source->used || error_set(error, ERROR_MEMORY, "There is no memory for an adapter's tensors.");
}

void adapter_source_close(struct adapter_source *source) {
  for (struct expert_factors *next; source->cut; source->cut = next) {
    next = source->cut->next;
    free(source->cut);
  }
  free(source->found);
  free(source->used);
  safetensors_close(source->safetensors);
  gguf_close(source->gguf);
  adapter_config_free(source->config);
}

bool adapter_source_intact(const struct adapter_source *source, struct error *error) {
  return source->gguf ? gguf_intact(source->gguf, error) : safetensors_intact(source->safetensors, error);
}

const struct hash128 *adapter_source_base(const struct adapter_source *source) {
  if (!source->gguf) return adapter_config_base(source->config);
  return source->settings.has_base ? &source->settings.base : NULL;
}

/* --- modules ------------------------------------------------------------------------------------------------------ */

static const struct tensor *tensor_take(struct adapter_source *source, const char *name) {
  const struct tensor *tensor = tensor_find(source->tensors, name);
  if (tensor) source->used[tensor - source->tensors->tensors] = true;
  return tensor;
}

const struct tensor *adapter_source_take(struct adapter_source *source, const char *module, const char *suffix) {
  char name[NAME_BYTES];
  snprintf(name, sizeof name, PEFT_BASE "%s.%s", module, suffix);
  return tensor_take(source, name);
}

static const struct tensor *gguf_take(struct adapter_source *source, const char *module, const char *suffix) {
  char name[NAME_BYTES];
  snprintf(name, sizeof name, "%s.weight.%s", module, suffix);
  return tensor_take(source, name);
}

bool adapter_shape_check(const struct tensor *tensor, int64_t rows, int64_t cols, const char *by, struct error *error) {
  char shape[TENSOR_SHAPE_TEXT];
  bool vector = cols == 0;
  if (tensor->n_dim == (vector ? 1 : 2) && tensor->dim[0] == rows && (vector || tensor->dim[1] == cols)) return true;
  tensor_shape_text(tensor, shape);
  if (vector)
    return error_set(error, ERROR_FORMAT, "\"%s\" has the shape %s; the base model wants [%lld].", tensor->name, shape,
                     (long long)rows);
  return error_set(error, ERROR_FORMAT, "\"%s\" has the shape %s; the base model and %s want [%lld, %lld].",
                   tensor->name, shape, by, (long long)rows, (long long)cols);
}

/* Rows of a module's matrix: those of its tensor that any weight of the plan has. */
static int module_rows(const struct plan *plan, const char *tensor) {
  int rows = 0;
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *weight = &plan_weights(plan)[i];
    for (int p = 0; p < weight->n_part; p++) {
      const struct weight_part *part = &weight->part[p];
      if (part_end(part) > rows && strcmp(plan_name(plan, part->tensor), tensor) == 0) rows = part_end(part);
    }
  }
  return rows;
}

static bool shapes_check(const struct module_tensors *m, bool embeds, int rows, int cols, const char *by,
                         struct error *error) {
  int out = embeds ? cols : rows, in = embeds ? rows : cols;
  bool fits = !m->a || (m->by_token ? adapter_shape_check(m->a, in, m->rank, by, error)
                                    : adapter_shape_check(m->a, m->rank, in, by, error));
  return fits && (!m->b || adapter_shape_check(m->b, out, m->rank, by, error)) &&
         (!m->b_bias || adapter_shape_check(m->b_bias, out, 0, by, error)) &&
         (!m->bias || adapter_shape_check(m->bias, out, 0, by, error)) &&
         (!m->magnitude || adapter_shape_check(m->magnitude, out, 0, by, error));
}

/* peft saves the matrices of vocabularies beside their factors; they must be the base's size. */
static bool saved_matrix_check(struct adapter_source *source, const struct module_tensors *m, int rows, int cols,
                               const char *by, struct error *error) {
  const struct tensor *matrix = adapter_source_take(source, m->module.name, "base_layer.weight");
  return !matrix || adapter_shape_check(matrix, rows, cols, by, error);
}

bool adapter_halves_check(const struct module_tensors *m, struct error *error) {
  return !m->a == !m->b ||
         error_set(error, ERROR_FORMAT, "The adapter has one of lora_A and lora_B of \"%s\" and lacks the other.",
                   m->module.name);
}

static bool peft_find(struct adapter_source *source, bool embeds, int rows, int cols, struct module_tensors *m,
                      struct error *error) {
  static const char by[] = "adapter_config.json";
  const char *name = m->module.name;
  m->a = adapter_source_take(source, name, embeds ? "lora_embedding_A" : "lora_A.weight");
  m->b = adapter_source_take(source, name, embeds ? "lora_embedding_B" : "lora_B.weight");
  if (!adapter_halves_check(m, error)) return false;
  m->b_bias = embeds ? NULL : adapter_source_take(source, name, "lora_B.bias");
  m->bias = embeds ? NULL : adapter_source_take(source, name, m->a ? "base_layer.bias" : "bias");
  m->magnitude = adapter_source_take(source, name, "lora_magnitude_vector");
  if (!m->magnitude != !(m->a && adapter_config_has_magnitudes(source->config)))
    return error_set(error, ERROR_FORMAT, "\"%s\" has %s lora_magnitude_vector, and use_dora is %s.", name,
                     m->magnitude ? "a" : "no", m->magnitude ? "false" : "true");
  if (m->a && !adapter_config_module(source->config, name, &m->rank, &m->scale, error)) return false;
  return shapes_check(m, embeds, rows, cols, by, error) && saved_matrix_check(source, m, rows, cols, by, error);
}

static bool gguf_find_module(struct adapter_source *source, bool embeds, int rows, int cols, struct module_tensors *m,
                             struct error *error) {
  m->a = gguf_take(source, m->module.gguf, "lora_a");
  m->b = gguf_take(source, m->module.gguf, "lora_b");
  m->by_token = embeds;
  if (!adapter_halves_check(m, error)) return false;
  if (!m->b) return true;
  int64_t rank = m->b->n_dim == 2 ? m->b->dim[1] : 0;
  if (rank < 1 || rank > LIMIT_ADAPTER_RANK)
    return error_set(error, ERROR_FORMAT, "\"%s\" has rank %lld; expected 1 to %d.", m->b->name, (long long)rank,
                     LIMIT_ADAPTER_RANK);
  m->rank = (int)rank;
  m->scale = source->settings.alpha != 0 ? source->settings.alpha / m->rank : 1;
  return shapes_check(m, embeds, rows, cols, "lora_b", error);
}

static bool expert_check(const struct module_tensors *m, struct error *error) {
  if (!m->b_bias && !m->bias && !m->magnitude) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "\"%s\" has a trained bias or a magnitude (DoRA); of experts factors alone are taken.",
                   m->module.name);
}

/* The tensors of a part of the op's matrix, `rows` of its tensor, of experts of one of them; their shapes checked. */
static bool part_find(struct adapter_source *source, const struct plan *plan, const struct op *op, int part, int expert,
                      int rows, struct module_tensors *m, struct error *error) {
  const struct weight *weight = &plan_weights(plan)[op->weight[0]];
  bool embeds = op->kind == OP_EMBED;
  *m = (struct module_tensors){0};
  const char *tensor = plan_name(plan, weight->part[part].tensor);
  if (weight->n_expert > 0) {
    if (!adapter_parameter_part(source, weight, tensor, expert, rows, m, error)) return false;
    if (m->a) return true;
    *m = (struct module_tensors){0};
  }
  if (!adapter_module_of(plan, op, part, source->base_architecture, source->settings.pairs, &m->module)) return true;
  if (weight->n_expert > 0 && !adapter_expert_name(tensor, expert, &m->module)) return true;
  if (weight->n_expert > 0)
    return source->gguf || (peft_find(source, false, rows, weight->cols, m, error) && expert_check(m, error));
  return source->gguf ? gguf_find_module(source, embeds, rows, weight->cols, m, error)
                      : peft_find(source, embeds, rows, weight->cols, m, error);
}

/* Refuses what no module has asked for. */
static bool used_check(const struct adapter_source *source, const struct plan *plan, struct error *error) {
  for (int i = 0; i < source->tensors->n_tensor; i++) {
    if (source->used[i]) continue;
    const char *name = source->tensors->tensors[i].name;
    if (source->no_experts && adapter_expert_has(source, plan, name))
      return error_set(error, ERROR_UNSUPPORTED,
                       "\"%s\" changes an expert, which the backend %s does not: merge the adapter while the engine is "
                       "built (spate build --merge-lora).",
                       name, source->no_experts);
    return error_set(error, ERROR_FORMAT, "\"%s\" belongs to no module of the base model that adapters can change.",
                     name);
  }
  return true;
}

/* The list grows with what the file has: a base may have tens of thousands of experts. */
static bool found_add(struct adapter_source *source, const struct op_tensors *found, struct error *error) {
  if (source->n_found == source->found_room) {
    int room = source->found_room > 0 ? 2 * source->found_room : 64;
    struct op_tensors *grown = realloc(source->found, (size_t)room * sizeof *grown);
    if (!grown) return error_set(error, ERROR_MEMORY, "There is no memory for an adapter's tensors.");
    source->found = grown;
    source->found_room = room;
  }
  source->found[source->n_found++] = *found;
  return true;
}

/* Of one matrix of the op; rows: of its parts' tensors. */
static bool matrix_find(struct adapter_source *source, const struct plan *plan, int index, int expert,
                        const int rows[PLAN_PARTS], struct error *error) {
  const struct op *op = &plan_ops(plan)[index];
  struct op_tensors found = {.op = index, .expert = expert};
  bool any = false;
  int n_part = plan_weights(plan)[op->weight[0]].n_part;
  for (int p = 0; p < n_part; p++) {
    if (!part_find(source, plan, op, p, expert, rows[p], &found.part[p], error)) return false;
    any = any || found.part[p].a || found.part[p].bias;
    if (found.part[p].rank > found.rank) found.rank = found.part[p].rank;
  }
  return !any || found_add(source, &found, error);
}

/* Matrices of the op that are looked for. */
static int op_matrices(const struct plan *plan, const struct op *op, bool experts) {
  if (op->kind == OP_EMBED) return op->args.embed.source == EMBED_TOKENS;
  int sites = adapter_sites(plan, op);
  return sites == 0 || plan_weights(plan)[op->weight[0]].n_expert == 0 || experts ? sites : 0;
}

static bool op_find(struct adapter_source *source, const struct plan *plan, int index, int count, struct error *error) {
  const struct weight *weight = &plan_weights(plan)[plan_ops(plan)[index].weight[0]];
  int rows[PLAN_PARTS] = {0};
  for (int p = 0; p < weight->n_part; p++) rows[p] = module_rows(plan, plan_name(plan, weight->part[p].tensor));
  for (int e = 0; e < count; e++)
    if (!matrix_find(source, plan, index, e, rows, error)) return false;
  return true;
}

bool adapter_source_find(struct adapter_source *source, const struct plan *plan, struct error *error) {
  bool experts = !source->no_experts && adapter_names_experts(source);
  for (int i = 0; i < plan->n_op; i++) {
    int count = op_matrices(plan, &plan_ops(plan)[i], experts);
    if (count > 0 && !op_find(source, plan, i, count, error)) return false;
  }
  if (!used_check(source, plan, error)) return false;
  return source->n_found > 0 ||
         error_set(error, ERROR_FORMAT, "The adapter has no tensors: there is nothing to apply.");
}
