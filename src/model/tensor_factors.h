/* GGUF's NVFP4 has a scale for a whole matrix beside those of its blocks: X.scale, which becomes a part of X.weight. */
#ifndef SPATE_MODEL_TENSOR_FACTORS_H
#define SPATE_MODEL_TENSOR_FACTORS_H

#include "model/packed_tensors.h"

/* The tensors of `in`, which must outlive *out: those named X.scale give way to X.weight of type NVFP4, and scales of
 * activations (X.input_scale), which are rounded by their peaks, are left out. The table stays empty where there are
 * none. Released in any case. */
bool tensor_factors_open(struct packed_tensors *out, const struct tensor_table *in, struct error *error);

#endif
