/* Elements of any type that Spate loads as floats, bit for bit what the Python package `gguf` computes. */
#ifndef SPATE_FORMAT_GGML_DEQUANT_H
#define SPATE_FORMAT_GGML_DEQUANT_H

#include "base/error.h"
#include "format/tensor.h"

/* Whether elements of the type can be turned into floats. */
bool tensor_type_loads(enum tensor_type type);

/* The same of a tensor, as a sentence that names it, its type and the types that load. */
bool tensor_check_loads(const struct tensor *tensor, struct error *error);

/* count elements, a multiple of the type's block; false when the type does not load. src needs no alignment. */
bool tensor_dequantize(enum tensor_type type, const uint8_t *src, size_t count, float *out);

#endif
