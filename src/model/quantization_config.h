/* config.json's "quantization_config": how the matrices of a checkpoint that was quantized elsewhere are stored. */
#ifndef SPATE_MODEL_QUANTIZATION_CONFIG_H
#define SPATE_MODEL_QUANTIZATION_CONFIG_H

#include "base/json.h"
#include "format/packed_matrix.h"

/* What the tensors of a matrix are called. */
enum quantization_naming {
  NAMING_NONE,       /* nothing is packed */
  NAMING_QWEIGHT,    /* AWQ, GPTQ: X.qweight, X.qzeros, X.scales, X.g_idx */
  NAMING_COMPRESSED, /* compressed-tensors: X.weight_packed or X.weight, X.weight_scale, … */
  NAMING_SCALE_INV,  /* Hugging Face's fp8: X.weight, X.weight_scale_inv (or X.weight_scale) */
  NAMING_BLOCKS,     /* mxfp4: X_blocks, X_scales */
};

struct quantization_config {
  enum quantization_naming naming;
  int n_spec;
  struct packed_spec spec[LIMIT_QUANTIZATION_GROUPS]; /* a matrix is stored in the first that its tensors fit */
};

/* Refuses what would not be read rightly: the sentence names the field, its value and the values that load. */
bool quantization_config_read(struct quantization_config *quantization, const json_t *config, struct error *error);

#endif
