/* Tables of modules' names in checkpoints and in GGUF files, and the rows of q and k, whose order differs between them.
 */
#include "engine/adapter_module.h"

#include "base/limits.h"
#include "format/gguf_adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* GGUF's names without "blk.3." and ".weight", and the modules' without "model." and "layers.3.". */
static const struct {
  const char *gguf, *module;
} layer_modules[] = {
    {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"}, {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_gate", "mlp.gate_proj"},  {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

static const struct {
  const char *gguf, *module;
} whole_modules[] = {{"token_embd", "model.embed_tokens"}, {"output", "lm_head"}};

enum { LAYER_MODULES = sizeof layer_modules / sizeof *layer_modules, WHOLE_MODULES = 2 };

/* The name without its ".weight"; 0: it has none, or is too long. */
static size_t stem_bytes(const char *name) {
  static const char ending[] = ".weight";
  size_t size = strlen(name), less = sizeof ending - 1;
  if (size <= less || size - less >= ADAPTER_MODULE_BYTES || strcmp(name + size - less, ending) != 0) return 0;
  return size - less;
}

static bool names_whole(const char *gguf, const char *name, struct adapter_module *module) {
  snprintf(module->gguf, sizeof module->gguf, "%s", gguf);
  return snprintf(module->name, sizeof module->name, "%s", name) > 0;
}

/* What follows "PREFIX<layer>."; NULL: it begins otherwise. */
static const char *layer_skip(const char *stem, const char *prefix, int *layer) {
  size_t size = strlen(prefix);
  char *end;
  if (strncmp(stem, prefix, size) != 0) return NULL;
  long number = strtol(stem + size, &end, 10);
  if (end == stem + size || *end != '.' || number < 0 || number >= LIMIT_MODEL_LAYERS) return NULL;
  *layer = (int)number;
  return end + 1;
}

static bool names_of_gguf(const char *stem, struct adapter_module *module) {
  int layer;
  for (int i = 0; i < WHOLE_MODULES; i++)
    if (strcmp(stem, whole_modules[i].gguf) == 0) return names_whole(stem, whole_modules[i].module, module);
  const char *rest = layer_skip(stem, "blk.", &layer);
  if (!rest) return false;
  snprintf(module->gguf, sizeof module->gguf, "%s", stem);
  for (int i = 0; i < LAYER_MODULES; i++)
    if (strcmp(rest, layer_modules[i].gguf) == 0)
      return snprintf(module->name, sizeof module->name, "model.layers.%d.%s", layer, layer_modules[i].module) > 0;
  return false;
}

static bool names_of_module(const char *stem, struct adapter_module *module) {
  int layer;
  for (int i = 0; i < WHOLE_MODULES; i++)
    if (strcmp(stem, whole_modules[i].module) == 0) return names_whole(whole_modules[i].gguf, stem, module);
  snprintf(module->name, sizeof module->name, "%s", stem);
  const char *rest = layer_skip(stem, "model.layers.", &layer);
  if (!rest) return true;
  for (int i = 0; i < LAYER_MODULES; i++)
    if (strcmp(rest, layer_modules[i].module) == 0)
      snprintf(module->gguf, sizeof module->gguf, "blk.%d.%s", layer, layer_modules[i].gguf);
  return true;
}

static bool is_gguf(const char *stem) {
  return strncmp(stem, "blk.", 4) == 0 || strcmp(stem, "token_embd") == 0 || strcmp(stem, "output") == 0;
}

/* The attention that takes the op's result as its q or k; NULL: none. */
static const struct attend_args *rotated_by(const struct plan *plan, const struct op *op, const char *module) {
  const char *last = strrchr(module, '.');
  if (!last || (strcmp(last, ".q_proj") != 0 && strcmp(last, ".k_proj") != 0)) return NULL;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *attend = &plan_ops(plan)[i];
    if (attend->kind == OP_ATTEND && attend->layer == op->layer && attend->in[0] == op->out)
      return &attend->args.attend;
  }
  return NULL;
}

bool adapter_module_of(const struct plan *plan, const struct op *op, int part, const char *architecture, bool pairs,
                       struct adapter_module *module) {
  const char *tensor = plan_name(plan, plan_weights(plan)[op->weight[0]].part[part].tensor);
  char stem[ADAPTER_MODULE_BYTES];
  size_t size = stem_bytes(tensor);
  if (size == 0) return false;
  snprintf(stem, sizeof stem, "%.*s", (int)size, tensor);
  *module = (struct adapter_module){0};
  if (!(is_gguf(stem) ? names_of_gguf(stem, module) : names_of_module(stem, module))) return false;
  /* A matrix that a head shares with the embedding has the embedding's name; the module is another one. */
  if (op->kind == OP_LINEAR && strcmp(module->name, whole_modules[0].module) == 0)
    return names_whole(whole_modules[1].gguf, whole_modules[1].module, module);
  const struct attend_args *attend = rotated_by(plan, op, module->name);
  bool turned = attend && (*architecture ? gguf_rows_in_pairs(architecture) : attend->rope_style == ROPE_PAIRS);
  module->pairs = turned && is_gguf(stem);
  if (attend && module->pairs != pairs && attend->dim_k % 2 == 0) module->head_rows = attend->dim_k;
  return true;
}

int adapter_module_row(const struct adapter_module *module, int row) {
  if (module->head_rows == 0) return row;
  int within = row % module->head_rows, half = module->head_rows / 2, first = row - within;
  return module->pairs ? first + within % 2 * half + within / 2 : first + within % half * 2 + within / half;
}
