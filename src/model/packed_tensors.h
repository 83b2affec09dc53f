/* The tensors of a quantized checkpoint as a network names them: X.qweight, X.scales and their like become one tensor
 * X.weight of type TENSOR_PACKED. */
#ifndef SPATE_MODEL_PACKED_TENSORS_H
#define SPATE_MODEL_PACKED_TENSORS_H

#include "base/arena.h"
#include "base/json.h"
#include "format/tensor.h"

struct packed_tensors {
  struct arena arena;
  struct tensor_table table; /* empty where config.json has no quantization_config */
};

/* The tensors of `in`, which must outlive *out, as `config` (config.json) says they are stored; those that are parts of
 * a packed matrix give way to it, and scales of activations and of the KV cache are left out. Released in any case. */
bool packed_tensors_open(struct packed_tensors *out, const struct tensor_table *in, const json_t *config,
                         struct error *error);
void packed_tensors_release(struct packed_tensors *tensors);

#endif
