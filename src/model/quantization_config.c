/* Reading quantization_config of each method. Fields that only say how the numbers were found are passed over. */
#include "model/quantization_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* An object of config.json and the path to it, for sentences. */
struct node {
  const json_t *object;
  char path[160];
};

static struct node node_below(const struct node *node, const char *key) {
  struct node below = {.object = json_object_get(node->object, key)};
  snprintf(below.path, sizeof below.path, "%.100s.%.50s", node->path, key);
  return below;
}

/* NULL when absent or null. */
static const json_t *node_get(const struct node *node, const char *key) {
  const json_t *value = json_object_get(node->object, key);
  return json_is_null(value) ? NULL : value;
}

static bool node_refuse(const struct node *node, const char *key, const char *expected, struct error *error) {
  const json_t *value = json_object_get(node->object, key);
  char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS) : NULL;
  error_set(error, ERROR_UNSUPPORTED, "config.json: %s.%s is %.80s; expected %s.", node->path, key,
            text ? text : "missing", expected);
  free(text);
  return false;
}

static bool node_int(const struct node *node, const char *key, int min, int max, const char *expected, int *value,
                     struct error *error) {
  const json_t *number = node_get(node, key);
  json_int_t whole = json_integer_value(number);
  if (!json_is_integer(number) || whole < min || whole > max) return node_refuse(node, key, expected, error);
  *value = (int)whole;
  return true;
}

/* Whether a text is `wanted`; an absent one is `usual`. */
static bool node_is(const struct node *node, const char *key, const char *wanted, const char *usual) {
  const json_t *value = node_get(node, key);
  const char *text = value ? json_string_value(value) : usual;
  return text && strcasecmp(text, wanted) == 0;
}

static bool bits_read(const struct node *node, const char *key, int *bits, struct error *error) {
  static const char expected[] = "2, 4 or 8";
  if (!node_int(node, key, 2, 8, expected, bits, error)) return false;
  return *bits == 2 || *bits == 4 || *bits == 8 || node_refuse(node, key, expected, error);
}

/* −1: one group a row. */
static bool group_read(const struct node *node, int *group, struct error *error) {
  static const char expected[] = "-1 or the columns of a group";
  if (!node_int(node, "group_size", -1, LIMIT_MODEL_WIDTH, expected, group, error)) return false;
  if (*group == 0) return node_refuse(node, "group_size", expected, error);
  if (*group == -1) *group = 0;
  return true;
}

/* --- AWQ and GPTQ ------------------------------------------------------------------------------------------------- */

static bool awq_read(struct quantization_config *q, const struct node *node, struct error *error) {
  struct packed_spec *spec = &q->spec[q->n_spec++];
  *spec = (struct packed_spec){.layout = PACKED_AWQ, .bits = 4, .scale_rows = 1, .needs_zero = true};
  q->naming = NAMING_QWEIGHT;
  if (!node_int(node, "bits", 4, 4, "4", &spec->bits, error) || !group_read(node, &spec->group, error)) return false;
  if (!node_is(node, "version", "gemm", "gemm")) return node_refuse(node, "version", "\"gemm\"", error);
  return !json_is_false(node_get(node, "zero_point")) || node_refuse(node, "zero_point", "true", error);
}

/* "dynamic" overrides the settings of modules; those that begin with "-:" only leave modules as they are. */
static bool gptq_overrides(const struct node *node, struct error *error) {
  const char *pattern;
  json_t *settings;
  json_object_foreach((json_t *)(uintptr_t)node_get(node, "dynamic"), pattern, settings) {
    if (strncmp(pattern, "-:", 2) != 0)
      return node_refuse(node, "dynamic", "patterns that begin with \"-:\" only", error);
  }
  return true;
}

static bool gptq_read(struct quantization_config *q, const struct node *node, struct error *error) {
  struct packed_spec *spec = &q->spec[q->n_spec++];
  *spec = (struct packed_spec){.layout = PACKED_GPTQ, .scale_rows = 1, .needs_zero = true};
  q->naming = NAMING_QWEIGHT;
  if (!bits_read(node, "bits", &spec->bits, error) || !group_read(node, &spec->group, error) ||
      !gptq_overrides(node, error))
    return false;
  bool first = node_is(node, "checkpoint_format", "gptq", "gptq");
  if (!first && !node_is(node, "checkpoint_format", "gptq_v2", NULL))
    return node_refuse(node, "checkpoint_format", "\"gptq\" or \"gptq_v2\"", error);
  if (json_is_true(node_get(node, "is_marlin_format"))) return node_refuse(node, "is_marlin_format", "false", error);
  if (!node_is(node, "pack_dtype", "int32", "int32")) return node_refuse(node, "pack_dtype", "\"int32\"", error);
  spec->needs_index = json_is_true(node_get(node, "desc_act"));
  if (first) spec->zero_add = UINT32_MAX / ((1u << spec->bits) - 1); /* one in each field */
  return true;
}

/* --- Hugging Face's fp8 ------------------------------------------------------------------------------------------- */

static const char static_note[] = "the file's static activation scales are not used: rows are rounded by their peaks";

static bool fp8_read(struct quantization_config *q, const struct node *node, struct error *error) {
  struct packed_spec *spec = &q->spec[q->n_spec++];
  *spec = (struct packed_spec){.layout = PACKED_E4M3, .bits = 8};
  q->naming = NAMING_SCALE_INV;
  if (!node_is(node, "fmt", "e4m3", "e4m3")) return node_refuse(node, "fmt", "\"e4m3\"", error);
  bool fixed = node_is(node, "activation_scheme", "static", "dynamic");
  if (!fixed && !node_is(node, "activation_scheme", "dynamic", "dynamic"))
    return node_refuse(node, "activation_scheme", "\"dynamic\" or \"static\"", error);
  if (fixed) spec->note = static_note;
  const json_t *block = node_get(node, "weight_block_size");
  if (!block) return true;
  json_int_t rows = json_integer_value(json_array_get(block, 0)), cols = json_integer_value(json_array_get(block, 1));
  if (json_array_size(block) != 2 || rows < 1 || cols < 1 || rows > LIMIT_MODEL_WIDTH || cols > LIMIT_MODEL_WIDTH)
    return node_refuse(node, "weight_block_size", "two sizes, as [128, 128]", error);
  spec->scale_rows = (int)rows;
  spec->group = (int)cols;
  return true;
}

/* --- mxfp4 of gpt-oss --------------------------------------------------------------------------------------------- */

static bool mxfp4_read(struct quantization_config *q, const struct node *node, struct error *error) {
  (void)node;
  (void)error;
  q->spec[q->n_spec++] = (struct packed_spec){.layout = PACKED_E2M1, .bits = 4, .group = 32, .scale_rows = 1};
  q->naming = NAMING_BLOCKS;
  return true;
}

/* --- compressed-tensors ------------------------------------------------------------------------------------------- */

static bool strategy_read(struct packed_spec *spec, const struct node *weights, struct error *error) {
  const json_t *block = node_get(weights, "block_structure");
  spec->scale_rows = 1;
  if (node_is(weights, "strategy", "channel", NULL)) return true;
  if (node_is(weights, "strategy", "group", NULL)) return group_read(weights, &spec->group, error);
  if (node_is(weights, "strategy", "block", NULL) && json_array_size(block) == 2) {
    json_int_t rows = json_integer_value(json_array_get(block, 0)), cols = json_integer_value(json_array_get(block, 1));
    if (rows < 1 || cols < 1 || rows > LIMIT_MODEL_WIDTH || cols > LIMIT_MODEL_WIDTH)
      return node_refuse(weights, "block_structure", "two sizes, as [128, 128]", error);
    spec->scale_rows = (int)rows;
    spec->group = (int)cols;
    return true;
  }
  spec->scale_rows = 0;
  return node_is(weights, "strategy", "tensor", NULL) ||
         node_refuse(weights, "strategy", "\"tensor\", \"channel\", \"group\" or \"block\" with a block_structure",
                     error);
}

static bool layout_read(struct packed_spec *spec, const struct node *group, const struct node *weights,
                        const struct node *config, struct error *error) {
  const struct node *at = node_get(group, "format") ? group : config;
  bool is_float = node_is(weights, "type", "float", "int"), naive = node_is(at, "format", "naive-quantized", NULL);
  if (!is_float && node_is(at, "format", "pack-quantized", NULL))
    spec->layout = PACKED_ROWS;
  else if (!is_float && (naive || node_is(at, "format", "int-quantized", NULL)))
    spec->layout = PACKED_INT8;
  else if (is_float && (naive || node_is(at, "format", "float-quantized", NULL)))
    spec->layout = PACKED_E4M3;
  else
    return node_refuse(at, "format",
                       "\"pack-quantized\" or \"int-quantized\" of integers, \"float-quantized\" of floats or "
                       "\"naive-quantized\"",
                       error);
  if (spec->layout == PACKED_ROWS) return bits_read(weights, "num_bits", &spec->bits, error);
  return node_int(weights, "num_bits", 8, 8, "8 for this format", &spec->bits, error);
}

/* What was rounded in a way of its own before a matrix when the checkpoint was made. */
static const char *activation_note(const struct node *group) {
  const struct node input = node_below(group, "input_activations");
  if (!json_is_object(input.object)) return NULL;
  if (!json_is_true(node_get(&input, "dynamic"))) return static_note;
  const json_t *bits = node_get(&input, "num_bits");
  return json_integer_value(bits) == 8 ? NULL : "activations are not rounded to fewer than 8 bits as the file asks";
}

static bool group_spec_read(struct packed_spec *spec, const struct node *group, const struct node *config,
                            struct error *error) {
  const struct node weights = node_below(group, "weights");
  *spec = (struct packed_spec){.note = activation_note(group)};
  if (node_get(group, "output_activations")) return node_refuse(group, "output_activations", "null", error);
  if (!layout_read(spec, group, &weights, config, error) || !strategy_read(spec, &weights, error)) return false;
  spec->needs_zero = json_is_false(node_get(&weights, "symmetric"));
  spec->needs_index = node_is(&weights, "actorder", "group", NULL);
  return true;
}

static bool compressed_state(const struct node *config, struct error *error) {
  const struct node sparsity = node_below(config, "sparsity_config");
  if (!node_is(config, "quantization_status", "compressed", "compressed"))
    return node_refuse(config, "quantization_status", "\"compressed\"", error);
  if (json_object_size(sparsity.object) > 0 && !node_is(&sparsity, "format", "dense", NULL))
    return node_refuse(&sparsity, "format", "\"dense\"", error);
  return json_object_size(node_get(config, "transform_config")) == 0 ||
         node_refuse(config, "transform_config", "no transforms: they would have to be applied to activations", error);
}

static bool compressed_read(struct quantization_config *q, const struct node *config, struct error *error) {
  const struct node groups = node_below(config, "config_groups");
  const char *name;
  json_t *object;
  q->naming = NAMING_COMPRESSED;
  if (!compressed_state(config, error)) return false;
  json_object_foreach((json_t *)(uintptr_t)groups.object, name, object) {
    struct node group = node_below(&groups, name);
    if (!node_get(&group, "weights")) continue;
    if (q->n_spec == LIMIT_QUANTIZATION_GROUPS)
      return error_set(error, ERROR_LIMIT, "config.json: %s has more than %d groups with weights; more do not load.",
                       groups.path, LIMIT_QUANTIZATION_GROUPS);
    if (!group_spec_read(&q->spec[q->n_spec++], &group, config, error)) return false;
  }
  return q->n_spec > 0 || node_refuse(config, "config_groups", "at least one group with weights", error);
}

bool quantization_config_read(struct quantization_config *quantization, const json_t *config, struct error *error) {
  *quantization = (struct quantization_config){.naming = NAMING_NONE};
  struct node node = {.object = json_object_get(config, "quantization_config"), .path = "quantization_config"};
  if (!node.object) node.object = json_object_get(json_object_get(config, "text_config"), "quantization_config");
  if (!node.object || json_is_null(node.object)) return true;
  static const struct {
    const char *method;
    bool (*read)(struct quantization_config *q, const struct node *node, struct error *error);
  } methods[] = {{"awq", awq_read},
                 {"gptq", gptq_read},
                 {"compressed-tensors", compressed_read},
                 {"fp8", fp8_read},
                 {"mxfp4", mxfp4_read}};
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
    if (node_is(&node, "quant_method", methods[i].method, NULL)) return methods[i].read(quantization, &node, error);
  return node_refuse(&node, "quant_method", "\"awq\", \"gptq\", \"compressed-tensors\", \"fp8\" or \"mxfp4\"", error);
}
