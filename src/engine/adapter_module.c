#include "engine/adapter_module.h"

#include <stdio.h>
#include <string.h>

/* GGUF's names without "blk.3." and ".weight", and the modules' without "model." and "layers.3.". */
static const struct {
  const char *gguf, *module;
} layer_modules[] = {
    {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"}, {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_gate", "mlp.gate_proj"},  {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

/* The name without its ".weight"; 0: it has none, or is too long. */
static size_t stem_bytes(const char *name) {
  static const char ending[] = ".weight";
  size_t size = strlen(name), less = sizeof ending - 1;
  if (size <= less || size - less >= ADAPTER_MODULE_BYTES || strcmp(name + size - less, ending) != 0) return 0;
  return size - less;
}

static bool gguf_module(const char *stem, char out[ADAPTER_MODULE_BYTES]) {
  int layer, used = 0;
  if (strcmp(stem, "token_embd") == 0) return snprintf(out, ADAPTER_MODULE_BYTES, "model.embed_tokens") > 0;
  if (strcmp(stem, "output") == 0) return snprintf(out, ADAPTER_MODULE_BYTES, "lm_head") > 0;
  if (sscanf(stem, "blk.%d.%n", &layer, &used) != 1 || used == 0) return false;
  for (size_t i = 0; i < sizeof layer_modules / sizeof layer_modules[0]; i++)
    if (strcmp(stem + used, layer_modules[i].gguf) == 0)
      return snprintf(out, ADAPTER_MODULE_BYTES, "model.layers.%d.%s", layer, layer_modules[i].module) > 0;
  return false;
}

static bool is_gguf(const char *stem) {
  return strncmp(stem, "blk.", 4) == 0 || strcmp(stem, "token_embd") == 0 || strcmp(stem, "output") == 0;
}

/* The matrix that a head shares with the embedding has the embedding's name; the module is another one. */
static bool is_embedding(const char *stem) {
  return strcmp(stem, "token_embd") == 0 || strcmp(stem, "model.embed_tokens") == 0;
}

/* Rotated pairs are neighbours only where a file's writer has put them so. */
static int head_rows(const struct plan *plan, const struct op *op, const char *module) {
  const char *last = strrchr(module, '.');
  if (strcmp(last, ".q_proj") != 0 && strcmp(last, ".k_proj") != 0) return 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *attend = &plan_ops(plan)[i];
    if (attend->kind != OP_ATTEND || attend->layer != op->layer || attend->in[0] != op->out) continue;
    return attend->args.attend.rope_style == ROPE_PAIRS ? attend->args.attend.dim_k : 0;
  }
  return 0;
}

bool adapter_module_of(const struct plan *plan, const struct op *op, int part, struct adapter_module *module) {
  const char *tensor = plan_name(plan, plan_weights(plan)[op->weight[0]].part[part].tensor);
  char stem[ADAPTER_MODULE_BYTES];
  size_t size = stem_bytes(tensor);
  if (size == 0) return false;
  snprintf(stem, sizeof stem, "%.*s", (int)size, tensor);
  *module = (struct adapter_module){0};
  if (op->kind == OP_LINEAR && is_embedding(stem)) return snprintf(module->name, sizeof module->name, "lm_head") > 0;
  if (!is_gguf(stem)) return snprintf(module->name, sizeof module->name, "%s", stem) > 0;
  if (!gguf_module(stem, module->name)) return false;
  if (op->layer >= 0) module->head_rows = head_rows(plan, op, module->name);
  return true;
}

int adapter_module_row(const struct adapter_module *module, int row) {
  if (module->head_rows == 0) return row;
  int within = row % module->head_rows, half = module->head_rows / 2;
  return row - within + within % 2 * half + within / 2;
}
