/* Reading a unit of packed integers: its codes as the dot product takes them, its scales and minima. Part of
 * kernels_template.h. */

/* How codes lie in planes: constants for the compiler, one copy of the kernels for each. */
struct code_form {
  int bits, high_bits;
  bool codebook, centred;
  bool segments; /* scheme_has_segments */
};

/* Bits of the unsigned bytes that the dot product sees. */
static ALWAYS_INLINE int form_width(struct code_form form) { return form.codebook ? 8 : form.bits + form.high_bits; }

static ALWAYS_INLINE vbytes plane_quad(const uint8_t *plane, int bits, int quad, int v, int left) {
  int per_vector = 8 / bits;
  vbytes all = vbytes_load(plane + (quad / per_vector) * PLANE_BYTES + v * VECTOR_BYTES);
  if (bits == 8) return all;
  return vbytes_field(all, bits * (quad % per_vector) - left, ((1 << bits) - 1) << left);
}

/* A unit of a tile: where its codes and scales are. */
struct unit_view {
  const struct cpu_layout *layout;
  const uint8_t *book; /* of a codebook form */
  const uint8_t *block;
  int index; /* within the block */
};

/* The same unit of a tile further on. */
static ALWAYS_INLINE struct unit_view unit_beside(struct unit_view unit, int tiles) {
  unit.block += tiles * unit.layout->tile_bytes;
  return unit;
}

/* Four columns of vector v as unsigned bytes. */
static ALWAYS_INLINE vbytes unit_quad(struct code_form form, struct unit_view unit, int quad, int v) {
  const uint8_t *low = unit.block + unit.index * form.bits * PLANE_BYTES;
  const uint8_t *high = unit.block + unit.layout->high_at + unit.index * form.high_bits * PLANE_BYTES;
  vbytes codes = plane_quad(low, form.bits, quad, v, 0);
  if (form.high_bits) codes = vbytes_or(codes, plane_quad(high, form.high_bits, quad, v, form.bits));
  return form.codebook ? vbytes_lookup(unit.book, codes) : codes;
}

/* A codebook as unsigned bytes, offset as scheme_offset says. */
static void book_bytes(const struct scheme *scheme, uint8_t book[CODEBOOK_ENTRIES]) {
  const int8_t *entry = codebook_entries(scheme->codebook);
  for (int i = 0; i < CODEBOOK_ENTRIES; i++) book[i] = (uint8_t)(entry[i] + scheme_offset(scheme));
}

/* value = scale × code + min for vector v of a group. */
struct affine {
  vfloat scale, min;
};

static ALWAYS_INLINE vfloat level_load(enum scale_kind kind, const uint8_t *from, int at) {
  switch (kind) {
  case SCALE_F16: return vfloat_from_half(from + 2 * (size_t)at);
  case SCALE_BF16: return vfloat_from_bfloat(from + 2 * (size_t)at);
  default: return vfloat_load((const float *)(const void *)from + at);
  }
}

static ALWAYS_INLINE struct affine affine_load(struct unit_view unit, int group, int v) {
  const struct cpu_layout *layout = unit.layout;
  const struct scheme *s = &layout->scheme;
  const uint8_t *block = unit.block;
  int at = group * TILE_ROWS + v * LANES;
  struct affine affine;
  if (s->scale == SCALE_TWO_LEVEL) {
    vfloat super = vfloat_from_half(block + layout->super_at + 2 * v * LANES);
    affine.scale = vfloat_mul(super, vfloat_from_int8(block + layout->scale_at + at));
    if (s->codebook) affine.scale = vfloat_mul(affine.scale, vfloat_set(codebook_unit(s->codebook)));
  } else {
    affine.scale = level_load(s->scale, block + layout->scale_at, at);
  }
  if (!s->has_min) {
    affine.min = vfloat_mul(affine.scale, vfloat_set((float)-scheme_offset(s)));
  } else if (s->scale == SCALE_TWO_LEVEL) {
    vfloat super = vfloat_from_half(block + layout->super_min_at + 2 * v * LANES);
    vfloat sub = vfloat_mul(vfloat_set(-1), vfloat_from_uint8(block + layout->min_at + at));
    affine.min = vfloat_mul(super, sub);
  } else {
    affine.min = level_load(s->scale, block + layout->min_at, at);
  }
  return affine;
}

/* A unit is one part of 32 columns, or two of 16 where groups are that short: the columns of one scale. */
static ALWAYS_INLINE int unit_parts(const struct cpu_layout *layout) { return scheme_parts(&layout->scheme); }

static ALWAYS_INLINE int part_group(struct unit_view unit, int n_part, int part) {
  return n_part == 2 ? 2 * unit.index + part : scheme_group_of(&unit.layout->scheme, unit.index * UNIT_COLS);
}
