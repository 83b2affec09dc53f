/* The element types that model files name: plain ones, and GGML's quantized ones, whose rows are runs of blocks.
 * The numbers are Spate's own and may change; files' own numbers and names are translated by the table in
 * tensor_type.c, which is also the one place to add a type. */
#ifndef SPATE_FORMAT_TENSOR_TYPE_H
#define SPATE_FORMAT_TENSOR_TYPE_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tensor_type {
  TENSOR_F32,
  TENSOR_F16,
  TENSOR_BF16,
  TENSOR_F64,
  TENSOR_F8_E4M3,
  TENSOR_F8_E5M2,
  TENSOR_F8_E8M0,
  TENSOR_I8,
  TENSOR_I16,
  TENSOR_I32,
  TENSOR_I64,
  TENSOR_U8,
  TENSOR_U16,
  TENSOR_U32,
  TENSOR_U64,
  TENSOR_BOOL,
  TENSOR_C64,
  TENSOR_Q4_0,
  TENSOR_Q4_1,
  TENSOR_Q5_0,
  TENSOR_Q5_1,
  TENSOR_Q8_0,
  TENSOR_Q8_1,
  TENSOR_Q2_K,
  TENSOR_Q3_K,
  TENSOR_Q4_K,
  TENSOR_Q5_K,
  TENSOR_Q6_K,
  TENSOR_Q8_K,
  TENSOR_IQ1_S,
  TENSOR_IQ1_M,
  TENSOR_IQ2_XXS,
  TENSOR_IQ2_XS,
  TENSOR_IQ2_S,
  TENSOR_IQ3_XXS,
  TENSOR_IQ3_S,
  TENSOR_IQ4_NL,
  TENSOR_IQ4_XS,
  TENSOR_TQ1_0,
  TENSOR_TQ2_0,
  TENSOR_MXFP4,
  TENSOR_NVFP4,
  TENSOR_Q1_0,
  TENSOR_PACKED, /* several tensors that are one matrix (packed_matrix.h): no file names it */
  TENSOR_TYPE_COUNT,
};

struct tensor_type_info {
  const char *name;     /* "BF16", "Q4_K": as safetensors and GGML call it */
  uint16_t block;       /* elements that are stored together; 1 for plain types */
  uint16_t block_bytes; /* bytes that they take */
  int16_t ggml;         /* the type's number in a GGUF file, -1 when GGUF has none */
  bool safetensors;     /* a safetensors file may name it */
};

const struct tensor_type_info *tensor_type_info(enum tensor_type type);

static inline const char *tensor_type_name(enum tensor_type type) { return tensor_type_info(type)->name; }

/* False for a number or a name that the format does not define. */
bool tensor_type_from_ggml(uint32_t number, enum tensor_type *type);
bool tensor_type_from_safetensors(struct slice name, enum tensor_type *type);

/* Bytes of count elements, a multiple of the block (otherwise, and on overflow, false). */
bool tensor_type_bytes(enum tensor_type type, size_t count, size_t *bytes);

#endif
