/* Packing for the reference: struct codes as it is, its arrays one after the other. */
#include "backend/backends.h"
#include "backend/reference/reference_program.h"

enum { ARRAY_COUNT = 8, ARRAY_ALIGN = 8 };

/* The arrays of a strip: bytes of one row of each, 0 when the scheme has no such array. */
static void row_bytes(const struct scheme *s, int cols, size_t bytes[ARRAY_COUNT]) {
  memset(bytes, 0, ARRAY_COUNT * sizeof *bytes);
  if (scheme_is_plain(s)) {
    bytes[0] = (size_t)cols * (size_t)scheme_element(s);
    return;
  }
  size_t groups = (size_t)scheme_groups(s, cols), supers = ((size_t)cols + SCHEME_SUPER - 1) / SCHEME_SUPER;
  bool two = s->scale == SCALE_TWO_LEVEL;
  bytes[1] = (size_t)cols;
  bytes[2] = two ? 0 : groups * sizeof(float);
  bytes[3] = two || !s->has_min ? 0 : groups * sizeof(float);
  bytes[4] = two ? groups : 0;
  bytes[5] = two && s->has_min ? groups : 0;
  bytes[6] = two ? supers * sizeof(uint16_t) : 0;
  bytes[7] = two && s->has_min ? supers * sizeof(uint16_t) : 0;
}

/* Where each array starts in a strip; returns the strip's bytes. */
static size_t array_offsets(const size_t bytes[ARRAY_COUNT], size_t offset[ARRAY_COUNT]) {
  size_t at = 0;
  for (int i = 0; i < ARRAY_COUNT; i++) {
    offset[i] = at;
    at += (bytes[i] * REFERENCE_PACK_ROWS + ARRAY_ALIGN - 1) / ARRAY_ALIGN * ARRAY_ALIGN;
  }
  return at;
}

size_t reference_strip_bytes(const struct weight *weight) {
  size_t bytes[ARRAY_COUNT], offset[ARRAY_COUNT];
  row_bytes(&weight->scheme, weight->cols, bytes);
  return array_offsets(bytes, offset);
}

void reference_pack(const struct weight *weight, const struct codes *codes, void *out) {
  const void *array[ARRAY_COUNT] = {codes->dense, codes->code,    codes->scale, codes->min,
                                    codes->sub,   codes->sub_min, codes->super, codes->super_min};
  size_t bytes[ARRAY_COUNT], offset[ARRAY_COUNT];
  row_bytes(&weight->scheme, weight->cols, bytes);
  memset(out, 0, array_offsets(bytes, offset));
  for (int i = 0; i < ARRAY_COUNT; i++)
    if (bytes[i]) memcpy((uint8_t *)out + offset[i], array[i], bytes[i] * (size_t)codes->rows);
}

static struct codes strip_codes(const struct weight *weight, const uint8_t *strip) {
  size_t bytes[ARRAY_COUNT], offset[ARRAY_COUNT];
  row_bytes(&weight->scheme, weight->cols, bytes);
  array_offsets(bytes, offset);
  const void *array[ARRAY_COUNT];
  for (int i = 0; i < ARRAY_COUNT; i++) array[i] = bytes[i] ? strip + offset[i] : NULL;
  return (struct codes){.scheme = weight->scheme,
                        .rows = REFERENCE_PACK_ROWS,
                        .cols = weight->cols,
                        .dense = array[0],
                        .code = array[1],
                        .scale = array[2],
                        .min = array[3],
                        .sub = array[4],
                        .sub_min = array[5],
                        .super = array[6],
                        .super_min = array[7]};
}

static struct codes row_codes(const struct weight *weight, struct slice packed, int row) {
  return strip_codes(weight, packed.data + (size_t)(row / REFERENCE_PACK_ROWS) * reference_strip_bytes(weight));
}

void reference_unpack_row(const struct weight *weight, struct slice packed, int row, float *out) {
  struct codes codes = row_codes(weight, packed, row);
  for (int col = 0; col < weight->cols; col++) out[col] = (float)codes_value(&codes, row % REFERENCE_PACK_ROWS, col);
}

void reference_weight_row(const struct program *program, int index, int row, double *out) {
  const struct weight *weight = plan_weights(program->plan) + index;
  size_t each = backend_packed_bytes(program->packer, weight) / (size_t)weight_experts(weight);
  struct slice packed = slice_make(program->packed[index].data + (size_t)(row / weight->rows) * each, each);
  row %= weight->rows;
  if (program->packer == &backend_reference) {
    struct codes codes = row_codes(weight, packed, row);
    for (int col = 0; col < weight->cols; col++) out[col] = codes_value(&codes, row % REFERENCE_PACK_ROWS, col);
    return;
  }
  program->packer->unpack_row(weight, packed, row, program->unpacked);
  for (int col = 0; col < weight->cols; col++) out[col] = program->unpacked[col];
}
