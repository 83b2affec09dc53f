/* Packing for GPUs. */
#include "backend/cuda/cuda_layout.h"

#include "base/half.h"

#include <assert.h>
#include <string.h>

_Static_assert((int)STRIP_ROWS == (int)TILE_ROWS && (int)STRIP_ROWS == (int)GATE_INTERLEAVE,
               "a strip is a tile of the CPU's, and a run of gate or up rows");

static bool scheme_is_bytes(const struct scheme *s) {
  if (s->kind == SCHEME_F8) return true;
  if (s->kind != SCHEME_INT || s->bits != 8) return false;
  return s->group == 0 || (s->group == BYTE_COLS && s->scale == SCALE_F16 && s->has_min);
}

/* MXFP4's numbers, whose scales are bf16. */
static bool scheme_is_e2m1(const struct scheme *s) {
  return s->codebook == CODEBOOK_E2M1 && s->scale == SCALE_BF16 && s->group == 32 && !s->has_min;
}

static bool scheme_is_nibbles(const struct scheme *s) {
  if (s->kind != SCHEME_INT || s->bits != 4 || s->high_bits) return false;
  return scheme_is_e2m1(s) || (!s->codebook && s->scale == SCALE_F16 && (s->group == 32 || s->group == 128));
}

bool cuda_scheme_coded(const struct scheme *s) { return scheme_is_bytes(s) || scheme_is_nibbles(s); }

static size_t pieces_bytes(int cols, int of_piece) { return (size_t)((cols + of_piece - 1) / of_piece) * PIECE_BYTES; }

static size_t strip_align(size_t bytes) { return (bytes + STRIP_ALIGN - 1) / STRIP_ALIGN * STRIP_ALIGN; }

static void bytes_lay(struct cuda_layout *layout) {
  bool grouped = layout->cpu.scheme.group > 0;
  layout->head_bytes = grouped ? 0 : BYTES_HEAD;
  layout->piece_bytes = PIECE_BYTES + (grouped ? BYTE_SCALES : 0);
  size_t pieces = ((size_t)layout->cols + BYTE_COLS - 1) / BYTE_COLS;
  layout->strip_bytes = strip_align(layout->head_bytes + pieces * layout->piece_bytes);
}

static size_t nibbles_piece(const struct scheme *s) {
  return NIBBLES_CODES + (size_t)(BYTE_COLS / s->group * STRIP_ROWS) * (s->has_min ? 4 : 2);
}

/* Of four bits: whole pairs of pieces. */
static size_t pairs_bytes(int cols, size_t piece) {
  return strip_align((size_t)((cols + 2 * BYTE_COLS - 1) / (2 * BYTE_COLS)) * 2 * piece);
}

struct cuda_layout cuda_layout_of(const struct weight *weight) {
  struct cuda_layout layout = {.cpu = cpu_layout_of(weight), .rows = weight->rows, .cols = weight->cols};
  layout.pieces = weight->scheme.kind == SCHEME_F16 || weight->scheme.kind == SCHEME_BF16;
  layout.bytes = scheme_is_bytes(&weight->scheme);
  layout.nibbles = scheme_is_nibbles(&weight->scheme);
  layout.strip_bytes = layout.cpu.tile_bytes;
  if (layout.pieces) layout.strip_bytes = pieces_bytes(weight->cols, PIECE_COLS);
  if (layout.bytes) bytes_lay(&layout);
  if (layout.nibbles) {
    layout.piece_bytes = nibbles_piece(&weight->scheme);
    layout.strip_bytes = pairs_bytes(weight->cols, layout.piece_bytes);
  }
  return layout;
}

/* Where a code and a scale are within a strip. */
static size_t byte_at(const struct cuda_layout *layout, int row, int col) {
  return layout->head_bytes + (size_t)(col / BYTE_COLS) * layout->piece_bytes + byte_offset(row, col % BYTE_COLS);
}

static size_t byte_scale(const struct cuda_layout *layout, int row, int group) {
  size_t scales = layout->cpu.scheme.group ? (size_t)group * layout->piece_bytes + PIECE_BYTES : 0;
  return scales + (size_t)row * sizeof(float);
}

static void half_put(uint8_t *to, float value) {
  uint16_t half = half_from_float(value);
  memcpy(to, &half, sizeof half);
}

static float half_get(const uint8_t *from) {
  uint16_t half;
  memcpy(&half, from, sizeof half);
  return half_to_float(half);
}

/* Scales of four bits are bf16 where codes are E2M1's. */
static void nibble_scale_put(const struct scheme *s, uint8_t *to, float value) {
  uint16_t bits = s->codebook ? bfloat_from_float(value) : half_from_float(value);
  memcpy(to, &bits, sizeof bits);
}

static float nibble_scale_get(const struct scheme *s, const uint8_t *from) {
  uint16_t bits;
  memcpy(&bits, from, sizeof bits);
  return s->codebook ? bfloat_to_float(bits) : half_to_float(bits);
}

/* Codes of int8 are unsigned, from the middle on. */
static uint8_t code_sign(const struct scheme *s) { return s->kind == SCHEME_INT ? 0x80 : 0; }

static void byte_scale_put(const struct codes *codes, int at, uint8_t *out) {
  if (!codes->scheme.has_min) {
    memcpy(out, codes->scale + at, sizeof *codes->scale);
    return;
  }
  half_put(out, codes->scale[at]);
  half_put(out + 2, codes->min[at]);
}

static void pack_bytes(const struct cuda_layout *layout, const struct codes *codes, uint8_t *out) {
  uint8_t sign = code_sign(&codes->scheme);
  int groups = scheme_groups(&codes->scheme, layout->cols);
  memset(out, 0, layout->strip_bytes);
  for (int row = 0; row < codes->rows; row++) {
    for (int group = 0; group < groups; group++)
      byte_scale_put(codes, row * groups + group, out + byte_scale(layout, row, group));
    for (int col = 0; col < layout->cols; col++)
      out[byte_at(layout, row, col)] = codes->code[(size_t)row * (size_t)layout->cols + (size_t)col] ^ sign;
  }
}

static void unpack_bytes(const struct cuda_layout *layout, const uint8_t *strip, int row, float *out) {
  const struct scheme *s = &layout->cpu.scheme;
  for (int col = 0; col < layout->cols; col++) {
    uint8_t code = strip[byte_at(layout, row, col)];
    const uint8_t *at = strip + byte_scale(layout, row, scheme_group_of(s, col));
    float scale;
    memcpy(&scale, at, sizeof scale);
    if (s->has_min)
      out[col] = half_get(at) * (float)(code ^ code_sign(s)) + half_get(at + 2);
    else
      out[col] = scale * (s->kind == SCHEME_F8 ? e4m3_to_float(code) : (float)(int8_t)code);
  }
}

static void pack_nibbles(const struct cuda_layout *layout, const struct codes *codes, uint8_t *out) {
  const struct scheme *s = &codes->scheme;
  int groups = scheme_groups(s, layout->cols);
  bool high;
  memset(out, 0, layout->strip_bytes);
  for (int row = 0; row < codes->rows; row++) {
    for (int col = 0; col < layout->cols; col++) {
      uint8_t *byte =
          out + (size_t)(col / BYTE_COLS) * layout->piece_bytes + nibble_offset(row, col % BYTE_COLS, &high);
      *byte |= (uint8_t)(codes->code[(size_t)row * (size_t)layout->cols + (size_t)col] << (high ? 4 : 0));
    }
    for (int g = 0; g < groups; g++) {
      int col = g * s->group;
      uint8_t *at = out + (size_t)(col / BYTE_COLS) * layout->piece_bytes +
                    nibble_scale(row, col % BYTE_COLS / s->group, s->has_min);
      nibble_scale_put(s, at, codes->scale[row * groups + g]);
      if (s->has_min) half_put(at + 2, codes->min[row * groups + g]);
    }
  }
}

static void unpack_nibbles(const struct cuda_layout *layout, const uint8_t *strip, int row, float *out) {
  const struct scheme *s = &layout->cpu.scheme;
  for (int col = 0; col < layout->cols; col++) {
    const uint8_t *piece = strip + (size_t)(col / BYTE_COLS) * layout->piece_bytes;
    bool high;
    int at = nibble_offset(row, col % BYTE_COLS, &high), code = piece[at] >> (high ? 4 : 0) & 15;
    const uint8_t *at_scale = piece + nibble_scale(row, col % BYTE_COLS / s->group, s->has_min);
    float scale = nibble_scale_get(s, at_scale);
    out[col] = scale * (float)(code - 8);
    if (s->codebook) out[col] = scale * codebook_unit(s->codebook) * (float)codebook_entries(s->codebook)[code];
    if (s->has_min) out[col] = scale * (float)code + half_get(at_scale + 2);
  }
}

void cuda_pack_strip(const struct weight *weight, const struct codes *codes, void *out) {
  struct cuda_layout layout = cuda_layout_of(weight);
  if (layout.bytes) {
    pack_bytes(&layout, codes, out);
    return;
  }
  if (layout.nibbles) {
    pack_nibbles(&layout, codes, out);
    return;
  }
  if (!layout.pieces) {
    cpu_pack_tile(weight, codes, out);
    return;
  }
  assert(codes->rows <= STRIP_ROWS && codes->cols == layout.cols);
  memset(out, 0, layout.strip_bytes);
  const uint16_t *element = codes->dense;
  for (int row = 0; row < codes->rows; row++)
    for (int col = 0; col < layout.cols; col++)
      memcpy((uint8_t *)out + piece_offset(row, col), element + (size_t)row * (size_t)layout.cols + col, 2);
}

void cuda_unpack_row(const struct weight *weight, struct slice packed, int row, float *out) {
  struct cuda_layout layout = cuda_layout_of(weight);
  const uint8_t *strip = packed.data + (size_t)(row / STRIP_ROWS) * layout.strip_bytes;
  bool bfloat = weight->scheme.kind == SCHEME_BF16;
  if (layout.bytes)
    unpack_bytes(&layout, strip, row % STRIP_ROWS, out);
  else if (layout.nibbles)
    unpack_nibbles(&layout, strip, row % STRIP_ROWS, out);
  else if (!layout.pieces)
    cpu_unpack_row(&layout.cpu, packed.data, row, out);
  for (int col = 0; col < layout.cols && layout.pieces; col++) {
    uint16_t bits;
    memcpy(&bits, strip + piece_offset(row % STRIP_ROWS, col), sizeof bits);
    out[col] = bfloat ? bfloat_to_float(bits) : half_to_float(bits);
  }
}
