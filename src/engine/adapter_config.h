/* adapter_config.json of a LoRA in the layout of the package peft: what each module's factors are multiplied with. The
 * file is not trusted. */
#ifndef SPATE_ENGINE_ADAPTER_CONFIG_H
#define SPATE_ENGINE_ADAPTER_CONFIG_H

#include "base/error.h"
#include "base/hash.h"

#include <stdbool.h>

struct adapter_config;

/* Refuses, naming the field, what would not be applied as it was trained. */
struct adapter_config *adapter_config_read(const char *path, struct error *error);
void adapter_config_free(struct adapter_config *config); /* NULL is allowed */

/* Of a module of the base ("model.layers.0.self_attn.q_proj"): its rank, and α ÷ rank, or with rslora α ÷ √rank
 * (arXiv:2312.03732). */
bool adapter_config_module(struct adapter_config *config, const char *module, int *rank, double *scale,
                           struct error *error);

/* Is it for a parameter of this name ("model.layers.0.mlp.experts.gate_up_proj"), as peft's target_parameters says? */
bool adapter_config_parameter(const struct adapter_config *config, const char *name);

/* The digest of the base's weights that spate_base_digest has; NULL: it is not there. */
const struct hash128 *adapter_config_base(const struct adapter_config *config);

/* Are magnitudes trained as well (DoRA, arXiv:2402.09353)? */
bool adapter_config_has_magnitudes(const struct adapter_config *config);

#endif
