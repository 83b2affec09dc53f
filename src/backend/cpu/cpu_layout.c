/* Sizes and offsets of the packed layout, and reading single elements of it. */
#include "backend/cpu/cpu_layout.h"

#include "base/half.h"

static size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

/* Offsets within a block of `units` units, and its bytes before rounding. */
static size_t integer_block(struct cpu_layout *layout, int units) {
  const struct scheme *s = &layout->scheme;
  static const size_t scale_bytes[] = {[SCALE_F32] = 4, [SCALE_F16] = 2, [SCALE_BF16] = 2, [SCALE_TWO_LEVEL] = 1};
  size_t scales = (size_t)TILE_ROWS * (s->group ? units * UNIT_COLS / s->group : 1) * scale_bytes[s->scale];
  size_t supers = s->scale == SCALE_TWO_LEVEL ? TILE_ROWS * sizeof(uint16_t) : 0;
  layout->block_units = units;
  layout->high_at = (size_t)units * PLANE_BYTES * s->bits;
  layout->scale_at = layout->high_at + (size_t)units * PLANE_BYTES * s->high_bits;
  layout->min_at = layout->scale_at + scales;
  layout->super_at = layout->min_at + (s->has_min ? scales : 0);
  layout->super_min_at = layout->super_at + supers;
  return layout->super_min_at + (s->has_min ? supers : 0);
}

/* Units that share a scale, at least one. */
static int group_units(const struct cpu_layout *layout) {
  int group = layout->scheme.group;
  return group == 0 ? layout->n_unit : group > UNIT_COLS ? group / UNIT_COLS : 1;
}

/* Two-level blocks span a super scale; others are the shortest run of whole groups and units whose bytes fill whole
 * cache lines, so that no scheme pays for alignment. */
static void integer_layout(struct cpu_layout *layout) {
  const struct scheme *s = &layout->scheme;
  int units = s->scale == SCALE_TWO_LEVEL ? SCHEME_SUPER / UNIT_COLS : group_units(layout);
  size_t bytes = integer_block(layout, units);
  if (bytes % LINE_BYTES && s->scale != SCALE_TWO_LEVEL && s->group) bytes = integer_block(layout, 2 * units);
  layout->block_bytes = round_up(bytes, LINE_BYTES);
}

static void e4m3_layout(struct cpu_layout *layout) {
  layout->block_units = group_units(layout);
  layout->scale_at = (size_t)layout->block_units * E4M3_UNIT_BYTES;
  layout->block_bytes = layout->scale_at + TILE_ROWS * sizeof(float);
}

static void row_layout(struct cpu_layout *layout) {
  const struct scheme *s = &layout->scheme;
  if (s->kind == SCHEME_INT && s->activation != ACTIVATION_FLOAT) {
    layout->words_at = round_up(layout->n_unit * sizeof(struct activation_unit), LINE_BYTES);
    layout->row_bytes = layout->words_at + (scheme_has_words(s) ? layout->n_unit * UNIT_COLS * sizeof(int16_t) : 0);
    layout->arranged_bytes = (size_t)(layout->n_unit * scheme_parts(s)) * sizeof(struct arranged_part);
  } else {
    layout->row_bytes = round_up(layout->n_unit * UNIT_COLS * sizeof(float), LINE_BYTES);
  }
  /* An odd number of cache lines: the same unit of successive rows never falls into the same set of the cache. */
  if (layout->row_bytes / LINE_BYTES % 2 == 0) layout->row_bytes += LINE_BYTES;
}

struct cpu_layout cpu_layout_of(const struct weight *weight) {
  struct cpu_layout layout = {.scheme = weight->scheme, .rows = weight->rows, .cols = weight->cols};
  const struct scheme *s = &layout.scheme;
  layout.n_unit = (weight->cols + UNIT_COLS - 1) / UNIT_COLS;
  if (s->kind == SCHEME_INT) {
    integer_layout(&layout);
  } else if (s->kind == SCHEME_F8) {
    e4m3_layout(&layout);
  } else {
    layout.block_units = 1;
    layout.block_bytes = (size_t)TILE_ROWS * UNIT_COLS * scheme_element(s);
  }
  layout.n_block = (layout.n_unit + layout.block_units - 1) / layout.block_units;
  layout.tile_bytes = layout.block_bytes * layout.n_block;
  row_layout(&layout);
  return layout;
}

static float load_f32(const uint8_t *from, int index) {
  float value;
  memcpy(&value, from + 4 * (size_t)index, sizeof value);
  return value;
}

static uint16_t load_u16(const uint8_t *from, int index) {
  uint16_t value;
  memcpy(&value, from + 2 * (size_t)index, sizeof value);
  return value;
}

static int plane_code(const uint8_t *plane, int bits, int row, int col) {
  int per_vector = 4 * (8 / bits), within = col % per_vector;
  uint8_t byte = plane[(size_t)(col / per_vector) * PLANE_BYTES + 4 * row + within % 4];
  return byte >> bits * (within / 4) & ((1 << bits) - 1);
}

static int code_at(const struct cpu_layout *layout, const uint8_t *block, int row, int col) {
  const struct scheme *s = &layout->scheme;
  int code = plane_code(block, s->bits, row, col);
  if (s->high_bits) code |= plane_code(block + layout->high_at, s->high_bits, row, col) << s->bits;
  return code;
}

static float scale_at(const struct cpu_layout *layout, const uint8_t *from, const uint8_t *super, int at, int row) {
  switch (layout->scheme.scale) {
  case SCALE_F32: return load_f32(from, at);
  case SCALE_F16: return half_to_float(load_u16(from, at));
  case SCALE_BF16: return bfloat_to_float(load_u16(from, at));
  default: return half_to_float(load_u16(super, row)) * (float)(int8_t)from[at];
  }
}

static float min_at(const struct cpu_layout *layout, const uint8_t *block, int at, int row) {
  const uint8_t *min = block + layout->min_at;
  if (layout->scheme.scale != SCALE_TWO_LEVEL) return scale_at(layout, min, NULL, at, row);
  return -(half_to_float(load_u16(block + layout->super_min_at, row)) * (float)min[at]);
}

static float integer_value(const struct cpu_layout *layout, const uint8_t *block, int row, int col) {
  const struct scheme *s = &layout->scheme;
  int at = scheme_group_of(s, col) * TILE_ROWS + row, code = code_at(layout, block, row, col);
  float scale = scale_at(layout, block + layout->scale_at, block + layout->super_at, at, row);
  if (s->has_min) return scale * (float)code + min_at(layout, block, at, row);
  if (s->codebook) return scale * codebook_unit(s->codebook) * (float)codebook_entries(s->codebook)[code];
  return scale * (float)(code - scheme_offset(s));
}

static float float_value(const struct cpu_layout *layout, const uint8_t *block, int row, int col) {
  switch (layout->scheme.kind) {
  case SCHEME_F32: return load_f32(block, col * TILE_ROWS + row);
  case SCHEME_F16: return half_to_float(load_u16(block, col * TILE_ROWS + row));
  case SCHEME_F8:
    return load_f32(block + layout->scale_at, row) / E4M3_UNIT * e4m3_to_float(block[col * TILE_ROWS + row]);
  default: return bfloat_to_float(load_u16(block, (col / 2 * TILE_ROWS + row) * 2 + col % 2));
  }
}

void cpu_unpack_row(const struct cpu_layout *layout, const uint8_t *packed, int row, float *out) {
  const uint8_t *tile = packed + (size_t)(row / TILE_ROWS) * layout->tile_bytes;
  int block_cols = layout->block_units * UNIT_COLS, lane = row % TILE_ROWS;
  for (int col = 0; col < layout->cols; col++) {
    const uint8_t *block = tile + (size_t)(col / block_cols) * layout->block_bytes;
    int within = col % block_cols;
    out[col] = layout->scheme.kind == SCHEME_INT ? integer_value(layout, block, lane, within)
                                                 : float_value(layout, block, lane, within);
  }
}
