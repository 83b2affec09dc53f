/* Floats from any loadable type. The quantized ones are rebuilt from their codes (ggml_codes.h), 256 weights at a
 * time, so that each block layout is written once. */
#include "format/ggml_dequant.h"

#include "base/buffer.h"
#include "base/half.h"
#include "format/ggml_codes.h"

#include <string.h>

enum { PIECE = GGML_SUPER, PIECE_GROUPS = PIECE / 16 };

/* The parts of one piece: a super block, or up to eight blocks of 32. */
struct piece {
  uint8_t code[PIECE];
  uint16_t scale[PIECE_GROUPS], min[PIECE_GROUPS];
  int8_t sub_scale[PIECE_GROUPS];
  uint8_t sub_min[PIECE_GROUPS];
  uint16_t super, super_min;
};

static float group_scale(const struct ggml_code_form *form, const struct piece *piece, size_t group) {
  if (form->two_level) return half_to_float(piece->super) * (float)piece->sub_scale[group];
  return form->scale_bfloat ? bfloat_to_float(piece->scale[group]) : half_to_float(piece->scale[group]);
}

static float group_min(const struct ggml_code_form *form, const struct piece *piece, size_t group) {
  if (form->two_level) return -(half_to_float(piece->super_min) * (float)piece->sub_min[group]);
  return half_to_float(piece->min[group]);
}

static void group_rebuild(const struct ggml_code_form *form, const struct piece *piece, size_t group, float *out) {
  const uint8_t *code = piece->code + group * (size_t)form->group;
  float scale = group_scale(form, piece, group);
  if (form->codebook) {
    const int8_t *entry = ggml_codebook(form->codebook);
    float unit = scale * ggml_unit(form->codebook);
    for (int i = 0; i < form->group; i++) out[i] = unit * (float)entry[code[i]];
  } else if (form->has_min) {
    float min = group_min(form, piece, group);
    for (int i = 0; i < form->group; i++) out[i] = scale * (float)code[i] + min;
  } else {
    int middle = 1 << (form->bits - 1);
    for (int i = 0; i < form->group; i++) out[i] = scale * (float)(code[i] - middle);
  }
}

static void dequantize_codes(enum tensor_type type, const struct ggml_code_form *form, const uint8_t *src, size_t count,
                             float *out) {
  const struct tensor_type_info *info = tensor_type_info(type);
  struct piece piece;
  struct ggml_codes codes = {.code = piece.code,
                             .scale = piece.scale,
                             .min = piece.min,
                             .sub_scale = piece.sub_scale,
                             .sub_min = piece.sub_min,
                             .super = &piece.super,
                             .super_min = &piece.super_min};
  size_t group_size = (size_t)form->group;
  for (size_t done = 0; done < count; done += PIECE) {
    size_t n = count - done < PIECE ? count - done : PIECE;
    ggml_row_codes(type, src + done / info->block * info->block_bytes, n, &codes);
    for (size_t group = 0; group < n / group_size; group++)
      group_rebuild(form, &piece, group, out + done + group * group_size);
  }
}

static void dequantize_u16(float (*widen)(uint16_t), const uint8_t *src, size_t count, float *out) {
  for (size_t i = 0; i < count; i++) {
    uint16_t bits;
    memcpy(&bits, src + 2 * i, sizeof bits);
    out[i] = widen(bits);
  }
}

bool tensor_dequantize(enum tensor_type type, const uint8_t *src, size_t count, float *out) {
  struct ggml_code_form form;
  if (type == TENSOR_F32) {
    if (count) memcpy(out, src, count * sizeof *out);
  } else if (type == TENSOR_F16) {
    dequantize_u16(half_to_float, src, count, out);
  } else if (type == TENSOR_BF16) {
    dequantize_u16(bfloat_to_float, src, count, out);
  } else if (ggml_code_form(type, &form)) {
    dequantize_codes(type, &form, src, count, out);
  } else {
    return false;
  }
  return true;
}

bool tensor_type_loads(enum tensor_type type) {
  struct ggml_code_form form;
  return type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16 || ggml_code_form(type, &form);
}

bool tensor_check_loads(const struct tensor *tensor, struct error *error) {
  if (tensor->packed || tensor_type_loads(tensor->type)) return true;
  struct buffer names;
  buffer_init(&names, ERROR_TEXT_MAX);
  for (int type = 0; type < TENSOR_TYPE_COUNT; type++)
    if (tensor_type_loads((enum tensor_type)type))
      buffer_print(&names, "%s%s", names.size ? ", " : "", tensor_type_name((enum tensor_type)type));
  error_set(error, ERROR_UNSUPPORTED, "Tensor \"%.200s\" is of type %s, which does not load; these do: %.*s.",
            tensor->name, tensor_type_name(tensor->type), (int)names.size, names.data);
  buffer_release(&names);
  return false;
}
