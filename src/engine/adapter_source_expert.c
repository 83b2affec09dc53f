/* Experts among the modules that an adapter's tensors name. */
#include "engine/adapter_source.h"

#include <stdio.h>
#include <string.h>

bool adapter_expert_name(const char *tensor, int expert, struct adapter_module *module) {
  char name[EXPERT_NAME_BYTES];
  if (!expert_tensor_apart(tensor)) return false;
  expert_tensor_name(module->name, expert, name);
  return snprintf(module->name, sizeof module->name, "%s", name) < (int)sizeof module->name;
}

bool adapter_names_experts(const struct adapter_source *source) {
  for (int i = 0; i < source->tensors->n_tensor; i++)
    if (strstr(source->tensors->tensors[i].name, "experts.")) return true;
  return false;
}

/* Does the tensor belong to an expert of the op that is a module of its own, or to all of them? */
static bool op_has_expert(const struct adapter_source *source, const struct plan *plan, const struct op *op,
                          const char *tensor) {
  size_t base = strlen(PEFT_BASE);
  if (op->kind != OP_LINEAR || strncmp(tensor, PEFT_BASE, base) != 0) return false;
  const struct weight *weight = &plan_weights(plan)[op->weight[0]];
  for (int p = 0; p < weight->n_part; p++) {
    struct adapter_module module;
    if (weight->n_expert > 0 && adapter_parameter_has(plan_name(plan, weight->part[p].tensor), tensor + base))
      return true;
    for (int e = 0; e < weight->n_expert; e++) {
      if (!adapter_module_of(plan, op, p, source->base_architecture, source->settings.pairs, &module) ||
          !adapter_expert_name(plan_name(plan, weight->part[p].tensor), e, &module))
        break;
      size_t size = strlen(module.name);
      if (strncmp(tensor + base, module.name, size) == 0 && tensor[base + size] == '.') return true;
    }
  }
  return false;
}

bool adapter_expert_has(const struct adapter_source *source, const struct plan *plan, const char *tensor) {
  for (int i = 0; i < plan->n_op; i++)
    if (op_has_expert(source, plan, &plan_ops(plan)[i], tensor)) return true;
  return false;
}
