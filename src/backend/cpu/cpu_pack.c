/* Packing of a tile: from row-major codes to the layout of cpu_layout.h. Plain C, run at build time on any host. */
#include "backend/cpu/cpu_layout.h"

#include "base/half.h"

#include <assert.h>

static void store_u16(uint8_t *to, size_t index, uint16_t value) { memcpy(to + 2 * index, &value, sizeof value); }

static void store_scale(uint8_t *to, size_t index, enum scale_kind kind, float value) {
  if (kind == SCALE_F32)
    memcpy(to + 4 * index, &value, sizeof value);
  else
    store_u16(to, index, kind == SCALE_F16 ? half_from_float(value) : bfloat_from_float(value));
}

static void plane_put(uint8_t *plane, int bits, int row, int col, int code) {
  int per_vector = 4 * (8 / bits), within = col % per_vector;
  uint8_t *byte = plane + (size_t)(col / per_vector) * PLANE_BYTES + 4 * row + within % 4;
  *byte = (uint8_t)(*byte | (code & ((1 << bits) - 1)) << bits * (within / 4));
}

static void pack_codes(const struct cpu_layout *layout, const struct codes *codes, int row, uint8_t *tile) {
  const struct scheme *s = &layout->scheme;
  int block_cols = layout->block_units * UNIT_COLS;
  for (int col = 0; col < layout->cols; col++) {
    uint8_t *block = tile + (size_t)(col / block_cols) * layout->block_bytes;
    int code = codes->code[(size_t)row * layout->cols + col], within = col % block_cols;
    plane_put(block, s->bits, row, within, code);
    if (s->high_bits) plane_put(block + layout->high_at, s->high_bits, row, within, code >> s->bits);
  }
}

static void pack_scales(const struct cpu_layout *layout, const struct codes *codes, int row, uint8_t *tile) {
  const struct scheme *s = &layout->scheme;
  int n_group = scheme_groups(s, layout->cols),
      block_groups = s->group ? layout->block_units * UNIT_COLS / s->group : 1;
  for (int group = 0; group < n_group; group++) {
    uint8_t *block = tile + (size_t)(group / block_groups) * layout->block_bytes;
    size_t from = (size_t)row * n_group + group, at = (size_t)(group % block_groups) * TILE_ROWS + row;
    if (s->scale == SCALE_TWO_LEVEL) {
      block[layout->scale_at + at] = (uint8_t)codes->sub[from];
      if (s->has_min) block[layout->min_at + at] = codes->sub_min[from];
    } else {
      store_scale(block + layout->scale_at, at, s->scale, codes->scale[from]);
      if (s->has_min) store_scale(block + layout->min_at, at, s->scale, codes->min[from]);
    }
  }
}

static void pack_supers(const struct cpu_layout *layout, const struct codes *codes, int row, uint8_t *tile) {
  for (int i = 0; i < layout->n_block; i++) { /* a two-level block spans one super scale */
    uint8_t *block = tile + (size_t)i * layout->block_bytes;
    size_t from = (size_t)row * layout->n_block + i;
    store_u16(block + layout->super_at, row, codes->super[from]);
    if (layout->scheme.has_min) store_u16(block + layout->super_min_at, row, codes->super_min[from]);
  }
}

static void pack_e4m3(const struct cpu_layout *layout, const struct codes *codes, int row, uint8_t *tile) {
  int n_group = scheme_groups(&layout->scheme, layout->cols), block_cols = layout->block_units * UNIT_COLS;
  for (int col = 0; col < layout->cols; col++)
    tile[(size_t)(col / block_cols) * layout->block_bytes + (size_t)(col % block_cols) * TILE_ROWS + (size_t)row] =
        codes->code[(size_t)row * (size_t)layout->cols + (size_t)col];
  for (int group = 0; group < n_group; group++)
    store_scale(tile + (size_t)group * layout->block_bytes + layout->scale_at, (size_t)row, SCALE_F32,
                codes->scale[(size_t)row * (size_t)n_group + (size_t)group] * E4M3_UNIT);
}

static void pack_floats(const struct cpu_layout *layout, const struct codes *codes, int row, uint8_t *tile) {
  size_t size = scheme_element(&layout->scheme);
  for (int col = 0; col < layout->cols; col++) {
    int at = layout->scheme.kind == SCHEME_BF16 ? (col / 2 * TILE_ROWS + row) * 2 + col % 2 : col * TILE_ROWS + row;
    memcpy(tile + at * size, (const uint8_t *)codes->dense + ((size_t)row * layout->cols + col) * size, size);
  }
}

void cpu_pack_tile(const struct weight *weight, const struct codes *codes, void *out) {
  struct cpu_layout layout = cpu_layout_of(weight);
  assert(codes->rows <= TILE_ROWS && codes->cols == layout.cols);
  memset(out, 0, layout.tile_bytes);
  for (int row = 0; row < codes->rows; row++) {
    if (layout.scheme.kind == SCHEME_F8) {
      pack_e4m3(&layout, codes, row, out);
      continue;
    }
    if (layout.scheme.kind != SCHEME_INT) {
      pack_floats(&layout, codes, row, out);
      continue;
    }
    pack_codes(&layout, codes, row, out);
    pack_scales(&layout, codes, row, out);
    if (layout.scheme.scale == SCALE_TWO_LEVEL) pack_supers(&layout, codes, row, out);
  }
}
