/* The table of element types. */
#include "format/tensor_type.h"

#include "base/checked.h"

#include <assert.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are little-endian and are used as mapped");

enum { NO_GGML = -1 };

static const struct tensor_type_info types[TENSOR_TYPE_COUNT] = {
    [TENSOR_F32] = {"F32", 1, 4, 0, true},
    [TENSOR_F16] = {"F16", 1, 2, 1, true},
    [TENSOR_BF16] = {"BF16", 1, 2, 30, true},
    [TENSOR_F64] = {"F64", 1, 8, 28, true},
    [TENSOR_F8_E4M3] = {"F8_E4M3", 1, 1, NO_GGML, true},
    [TENSOR_F8_E5M2] = {"F8_E5M2", 1, 1, NO_GGML, true},
    [TENSOR_F8_E8M0] = {"F8_E8M0", 1, 1, NO_GGML, true},
    [TENSOR_I8] = {"I8", 1, 1, 24, true},
    [TENSOR_I16] = {"I16", 1, 2, 25, true},
    [TENSOR_I32] = {"I32", 1, 4, 26, true},
    [TENSOR_I64] = {"I64", 1, 8, 27, true},
    [TENSOR_U8] = {"U8", 1, 1, NO_GGML, true},
    [TENSOR_U16] = {"U16", 1, 2, NO_GGML, true},
    [TENSOR_U32] = {"U32", 1, 4, NO_GGML, true},
    [TENSOR_U64] = {"U64", 1, 8, NO_GGML, true},
    [TENSOR_BOOL] = {"BOOL", 1, 1, NO_GGML, true},
    [TENSOR_C64] = {"C64", 1, 8, NO_GGML, true},
    [TENSOR_Q4_0] = {"Q4_0", 32, 18, 2, false},
    [TENSOR_Q4_1] = {"Q4_1", 32, 20, 3, false},
    [TENSOR_Q5_0] = {"Q5_0", 32, 22, 6, false},
    [TENSOR_Q5_1] = {"Q5_1", 32, 24, 7, false},
    [TENSOR_Q8_0] = {"Q8_0", 32, 34, 8, false},
    [TENSOR_Q8_1] = {"Q8_1", 32, 36, 9, false},
    [TENSOR_Q2_K] = {"Q2_K", 256, 84, 10, false},
    [TENSOR_Q3_K] = {"Q3_K", 256, 110, 11, false},
    [TENSOR_Q4_K] = {"Q4_K", 256, 144, 12, false},
    [TENSOR_Q5_K] = {"Q5_K", 256, 176, 13, false},
    [TENSOR_Q6_K] = {"Q6_K", 256, 210, 14, false},
    [TENSOR_Q8_K] = {"Q8_K", 256, 292, 15, false},
    [TENSOR_IQ1_S] = {"IQ1_S", 256, 50, 19, false},
    [TENSOR_IQ1_M] = {"IQ1_M", 256, 56, 29, false},
    [TENSOR_IQ2_XXS] = {"IQ2_XXS", 256, 66, 16, false},
    [TENSOR_IQ2_XS] = {"IQ2_XS", 256, 74, 17, false},
    [TENSOR_IQ2_S] = {"IQ2_S", 256, 82, 22, false},
    [TENSOR_IQ3_XXS] = {"IQ3_XXS", 256, 98, 18, false},
    [TENSOR_IQ3_S] = {"IQ3_S", 256, 110, 21, false},
    [TENSOR_IQ4_NL] = {"IQ4_NL", 32, 18, 20, false},
    [TENSOR_IQ4_XS] = {"IQ4_XS", 256, 136, 23, false},
    [TENSOR_TQ1_0] = {"TQ1_0", 256, 54, 34, false},
    [TENSOR_TQ2_0] = {"TQ2_0", 256, 66, 35, false},
    [TENSOR_MXFP4] = {"MXFP4", 32, 17, 39, false},
    [TENSOR_NVFP4] = {"NVFP4", 64, 36, 40, false},
    [TENSOR_Q1_0] = {"Q1_0", 128, 18, 41, false},
    [TENSOR_PACKED] = {"packed", 1, 1, NO_GGML, false},
};

const struct tensor_type_info *tensor_type_info(enum tensor_type type) {
  assert(type < TENSOR_TYPE_COUNT);
  return &types[type];
}

bool tensor_type_from_ggml(uint32_t number, enum tensor_type *type) {
  for (int i = 0; i < TENSOR_TYPE_COUNT; i++) {
    if (types[i].ggml == NO_GGML || (uint32_t)types[i].ggml != number) continue;
    *type = (enum tensor_type)i;
    return true;
  }
  return false;
}

bool tensor_type_from_safetensors(struct slice name, enum tensor_type *type) {
  for (int i = 0; i < TENSOR_TYPE_COUNT; i++) {
    if (!types[i].safetensors || !slice_is(name, types[i].name)) continue;
    *type = (enum tensor_type)i;
    return true;
  }
  return false;
}

bool tensor_type_bytes(enum tensor_type type, size_t count, size_t *bytes) {
  const struct tensor_type_info *info = tensor_type_info(type);
  return count % info->block == 0 && size_mul(count / info->block, info->block_bytes, bytes);
}
