/* Parameters of all experts among an adapter's tensors. */
#include "engine/adapter_source.h"

#include <stdio.h>
#include <string.h>

/* Factors of the parameter of all experts, if the adapter has them, and their shapes. */
static bool parameter_find(struct adapter_source *source, const struct expert_parameter *of, struct expert_slice *slice,
                           int cols, struct module_tensors *m, struct error *error) {
  static const char by[] = "adapter_config.json";
  struct expert_parameter other = *of;
  char name[2 * ADAPTER_MODULE_BYTES];
  other.gates = !of->gates;
  expert_parameter_name(&other, name);
  bool nested = of->gates && adapter_config_parameter(source->config, name);
  expert_parameter_name(of, name);
  if (!adapter_config_parameter(source->config, name)) return true;
  snprintf(m->module.name, sizeof m->module.name, "%s", of->module);
  slice->a = m->a = adapter_source_take(source, of->module, nested ? "base_layer.lora_A.weight" : "lora_A.weight");
  slice->b = m->b = adapter_source_take(source, of->module, nested ? "base_layer.lora_B.weight" : "lora_B.weight");
  if (!adapter_halves_check(m, error)) return false;
  if (!m->a) return true;
  if (!adapter_config_module(source->config, name, &m->rank, &m->scale, error)) return false;
  int64_t all = (int64_t)m->rank * slice->n_expert, rows = of->halved ? 2 * (int64_t)slice->rows : slice->rows;
  slice->rank = m->rank;
  slice->first = of->up ? slice->rows : 0;
  return adapter_shape_check(m->a, all, cols, by, error) && adapter_shape_check(m->b, rows, all, by, error);
}

bool adapter_parameter_part(struct adapter_source *source, const struct weight *weight, const char *tensor, int expert,
                            int rows, struct module_tensors *m, struct error *error) {
  struct expert_parameter of;
  struct expert_slice slice = {.n_expert = weight->n_expert, .expert = expert, .rows = rows};
  if (!source->config || !expert_parameter_of(tensor, &of)) return true;
  if (!parameter_find(source, &of, &slice, weight->cols, m, error)) return false;
  if (!m->a) return true;
  struct expert_factors *cut = expert_factors_take(&source->cut, &slice, error);
  if (!cut) return false;
  m->a = &cut->a;
  m->b = &cut->b;
  return true;
}

bool adapter_parameter_has(const char *base, const char *name) {
  static const char nested[] = ".base_layer";
  struct expert_parameter of;
  if (!expert_parameter_of(base, &of) || strncmp(name, of.module, strlen(of.module)) != 0) return false;
  name += strlen(of.module);
  if (strncmp(name, nested, sizeof nested - 1) == 0) name += sizeof nested - 1;
  return strcmp(name, ".lora_A.weight") == 0 || strcmp(name, ".lora_B.weight") == 0;
}
