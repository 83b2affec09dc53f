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

/* Adds the fields of a row in a plane, for the 32 columns of a unit, shifted left by `left`. */
static void plane_codes(const uint8_t *plane, int bits, int row, int left, int codes[UNIT_COLS]) {
  int per_vector = 8 / bits, mask = (1 << bits) - 1;
  for (int quad = 0; quad < UNIT_QUADS; quad++) {
    const uint8_t *from = plane + (size_t)(quad / per_vector) * PLANE_BYTES + 4 * row;
    int shift = bits * (quad % per_vector);
    for (int j = 0; j < 4; j++) codes[4 * quad + j] |= (from[j] >> shift & mask) << left;
  }
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

/* Columns [0, n) of unit `unit` of a block, which have one scale for all of them or for each half. */
static void integers_unpack(const struct cpu_layout *layout, const uint8_t *block, int row, int unit, int n,
                            float *out) {
  const struct scheme *s = &layout->scheme;
  int codes[UNIT_COLS] = {0}, part = UNIT_COLS / scheme_parts(s), offset = scheme_offset(s);
  plane_codes(block + (size_t)unit * PLANE_BYTES * s->bits, s->bits, row, 0, codes);
  if (s->high_bits)
    plane_codes(block + layout->high_at + (size_t)unit * PLANE_BYTES * s->high_bits, s->high_bits, row, s->bits, codes);
  for (int first = 0; first < n; first += part) {
    int at = scheme_group_of(s, unit * UNIT_COLS + first) * TILE_ROWS + row, end = first + part < n ? first + part : n;
    float scale = scale_at(layout, block + layout->scale_at, block + layout->super_at, at, row);
    float min = s->has_min ? min_at(layout, block, at, row) : 0;
    if (s->codebook) {
      const int8_t *entry = codebook_entries(s->codebook);
      scale *= codebook_unit(s->codebook);
      for (int c = first; c < end; c++) out[c] = scale * (float)entry[codes[c]];
    } else if (s->has_min) {
      for (int c = first; c < end; c++) out[c] = scale * (float)codes[c] + min;
    } else {
      for (int c = first; c < end; c++) out[c] = scale * (float)(codes[c] - offset);
    }
  }
}

static void floats_unpack(const struct cpu_layout *layout, const uint8_t *block, int row, int n, float *out) {
  const uint8_t *from = block;
  const float *wide = (const float *)(const void *)block + row;
  switch (layout->scheme.kind) {
  case SCHEME_F32:
    for (int c = 0; c < n; c++) out[c] = wide[c * TILE_ROWS];
    break;
  case SCHEME_F16:
    for (int c = 0; c < n; c++) out[c] = half_to_float(load_u16(from, c * TILE_ROWS + row));
    break;
  default:
    for (int c = 0; c < n; c++) out[c] = bfloat_to_float(load_u16(from, (c / 2 * TILE_ROWS + row) * 2 + c % 2));
    break;
  }
}

static void e4m3_unpack(const struct cpu_layout *layout, const uint8_t *block, int row, int unit, int n, float *out) {
  float scale = load_f32(block + layout->scale_at, row) / E4M3_UNIT;
  const uint8_t *from = block + (size_t)unit * E4M3_UNIT_BYTES;
  for (int c = 0; c < n; c++) out[c] = scale * e4m3_to_float(from[c * TILE_ROWS + row]);
}

void cpu_unpack_row(const struct cpu_layout *layout, const uint8_t *packed, int row, float *out) {
  const uint8_t *tile = packed + (size_t)(row / TILE_ROWS) * layout->tile_bytes;
  int lane = row % TILE_ROWS;
  for (int i = 0; i < layout->n_unit; i++, out += UNIT_COLS) {
    const uint8_t *block = tile + (size_t)(i / layout->block_units) * layout->block_bytes;
    int unit = i % layout->block_units, left = layout->cols - i * UNIT_COLS, n = left < UNIT_COLS ? left : UNIT_COLS;
    if (layout->scheme.kind == SCHEME_INT)
      integers_unpack(layout, block, lane, unit, n, out);
    else if (layout->scheme.kind == SCHEME_F8)
      e4m3_unpack(layout, block, lane, unit, n, out);
    else
      floats_unpack(layout, block, lane, n, out);
  }
}
